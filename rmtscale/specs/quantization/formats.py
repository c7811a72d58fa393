"""Layouts of one quantised matrix: what it takes in bytes, scales and zero points included.

Each is the tensors that the named library really keeps; the tests pack a matrix with it and count.
Biases, embeddings and norms are in no layout: they stay in the dtype of the model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One layout."""

    title: str
    """In words: ``int4 in groups of 128, zero points``."""
    bits: int
    word_bits: int = 8
    """Numbers, and zero points, are packed into words of so many bits."""
    rows: int = 1
    """Outputs that share a scale; 0: all of them."""
    columns: int = 0
    """Inputs that share a scale; 0: all of them."""
    flat: bool = False
    """Blocks of ``columns`` numbers go on from one row into the next."""
    scale_bytes: int | None = 4
    """None: a scale is a number of the model's dtype."""
    nested: int = 0
    """Scales are quantised themselves, with one fp32 scale for so many of them."""
    zero_bits: int = 0
    """Bits of a zero point; 0: there are none."""
    input_bytes: int = 0
    """Bytes for each input: the order in which GPTQ took them."""
    matrix_bytes: int = 0
    """Bytes of a matrix whatever its shape: second scales, scales of its input, code tables."""
    input_scales: int = 0
    """Scales of its input, each a number of the model's dtype."""
    inner_multiple: int = 1
    """Inputs must be a multiple of this."""
    outer_multiple: int = 1
    dequantized: bool = False
    """Whether it is multiplied as a copy in the model's dtype, one matrix at a time."""
    capability: tuple[int, int] = (0, 0)
    """CUDA compute capability from which on a kernel takes it."""

    def stored_bytes(self, inner: int, outer: int, dtype_bytes: int) -> int:
        """Bytes of one matrix with ``inner`` inputs and ``outer`` outputs."""
        word = self.word_bits // 8
        if self.flat:
            numbers = _up(inner * outer * self.bits, self.word_bits) * word
            blocks, across = _up(inner * outer, self.columns), 1
        else:
            numbers = outer * _up(inner * self.bits, self.word_bits) * word
            blocks = _up(outer, self.rows or outer)
            across = _up(inner, self.columns or inner)
        scale = dtype_bytes if self.scale_bytes is None else self.scale_bytes
        scales = blocks * across * scale
        if self.nested:
            scales = blocks * across + _up(blocks * across, self.nested) * scale
        zeros = across * _up(blocks * self.zero_bits, self.word_bits) * word
        return numbers + scales + zeros + inner * self.input_bytes + self._more_bytes(scale)

    def _more_bytes(self, scale_bytes: int) -> int:
        return self.matrix_bytes + self.input_scales * scale_bytes

    def fits(self, inner: int, outer: int) -> bool:
        """Whether a matrix of this shape can have the layout."""
        return not inner % self.inner_multiple and not outer % self.outer_multiple


class QuantizedMatrices(NamedTuple):
    """Equal matrices in one layout."""

    term: str
    """The cost term: ``qkv``, ``dense_up``."""
    format: Format
    inner: int
    outer: int
    copies: int

    @property
    def numbers(self) -> int:
        """Counts the numbers of all of them."""
        return self.copies * self.inner * self.outer


@dataclass(frozen=True, slots=True)
class Quantization:
    """Which matrices of a model are stored in fewer bits; all else is in the model's dtype."""

    title: str
    """In words: ``awq: int4 in groups of 128, zero points``."""
    matrices: tuple[QuantizedMatrices, ...]

    @property
    def capability(self) -> tuple[int, int]:
        """CUDA compute capability from which on kernels take all of its layouts."""
        return max((item.format.capability for item in self.matrices), default=(0, 0))

    def numbers(self) -> int:
        """Counts the numbers that are stored in fewer bits."""
        return sum(item.numbers for item in self.matrices)

    def stored_bytes(self, dtype_bytes: int) -> int:
        """Bytes of the quantised matrices in a model whose other weights have so many bytes."""
        return sum(
            item.copies * item.format.stored_bytes(item.inner, item.outer, dtype_bytes)
            for item in self.matrices
        )

    def dequantized_numbers(self) -> int:
        """Counts the numbers of the largest matrix that is multiplied as a copy."""
        sizes = (item.inner * item.outer for item in self.matrices if item.format.dequantized)
        return max(sizes, default=0)


def _up(amount: int, by: int) -> int:
    return -(-amount // by)


LLM_INT8 = Format(title="int8, a scale for each output", bits=8, capability=(7, 5))
"""bitsandbytes ``Linear8bitLt`` (Dettmers et al. 2022): int8, an fp32 ``SCB`` for each output."""
_CODE_BYTES = 16 * 4
_NESTED_BYTES = 256 * 4 + 4
NF4 = Format(
    title="nf4 in blocks of 64",
    bits=4,
    columns=64,
    flat=True,
    matrix_bytes=_CODE_BYTES,
    dequantized=True,
    capability=(6, 0),
)
"""bitsandbytes ``Linear4bit`` (Dettmers et al. 2023): the fp32 maximum of each 64 numbers, and the
16 values that the codes stand for."""
NF4_NESTED = replace(
    NF4, title=f"{NF4.title}, double", nested=256, matrix_bytes=_CODE_BYTES + _NESTED_BYTES
)
"""With double quantisation: maxima are bytes, with an fp32 scale for 256 of them, their mean, and
a table of 256 values."""
FP8_TENSOR = Format(title="fp8, a scale for each matrix", bits=8, rows=0, capability=(8, 0))
"""Transformers' ``FP8Linear`` without blocks: e4m3 and one fp32 ``weight_scale_inv``. Ampere
multiplies it as 16 bits (vLLM's Marlin); Ada and Hopper have fp8 arithmetic."""
MXFP4 = Format(
    title="mxfp4 in blocks of 32",
    bits=4,
    columns=32,
    scale_bytes=1,
    inner_multiple=32,
    capability=(7, 5),
)
"""The Microscaling format (Rouhani et al. 2023): e2m1, and an e8m0 exponent for each 32 inputs."""


def fp8_blocks(rows: int, columns: int, scale_bytes: int = 4, more: int = 0) -> Format:
    """Fp8 in blocks, as DeepSeek-V3 is published (DeepSeek-AI 2024, section 3.3)."""
    title = f"fp8 in blocks of {rows} x {columns}"
    return replace(
        FP8_TENSOR,
        title=title,
        rows=rows,
        columns=columns,
        scale_bytes=scale_bytes,
        matrix_bytes=more,
    )


def nvfp4(scales: int) -> Format:
    """NVFP4: e2m1, an e4m3 scale for each 16 inputs, and ``scales`` fp32 ones of the matrix."""
    return Format(
        title="nvfp4 in blocks of 16",
        bits=4,
        columns=16,
        scale_bytes=1,
        matrix_bytes=4 * scales,
        inner_multiple=16,
        capability=(8, 0),
    )


def awq(group: int) -> Format:
    """AutoAWQ's ``WQLinear_GEMM`` (Lin et al. 2024): 8 numbers a word, fp16 scales, zero points."""
    whole = group <= 0
    return Format(
        title="int4, zero points" if whole else f"int4 in groups of {group}, zero points",
        bits=4,
        word_bits=32,
        columns=0 if whole else group,
        scale_bytes=2,
        zero_bits=4,
        inner_multiple=1 if whole else group,
        outer_multiple=8,
        capability=(7, 5),
    )


def gptq(bits: int, group: int) -> Format:
    """AutoGPTQ's ``QuantLinear`` (Frantar et al. 2022): as AWQ's, and an int32 an input."""
    groups = f" in groups of {group}" if group > 0 else ""
    return Format(
        title=f"int{bits}{groups}, zero points",
        bits=bits,
        word_bits=32,
        columns=max(group, 0),
        scale_bytes=2,
        zero_bits=bits,
        input_bytes=4,
        inner_multiple=32,
        outer_multiple=32,
        capability=(6, 0),
    )
