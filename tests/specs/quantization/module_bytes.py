"""The bytes of a real module's weights, tensor by tensor, in slow and obvious steps: an oracle.

Names come from the module that Transformers builds, not from ours; layouts are written down again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from transformers.pytorch_utils import Conv1D

Tensors = list[tuple[tuple[int, ...], int]]
"""Shapes, with the bytes of one number of each."""


def linear_layers(module: torch.nn.Module) -> Iterator[tuple[str, int, int]]:
    """Every linear layer by name, inputs and outputs; each expert by its own, as files have it."""
    for name, part in module.named_modules():
        if isinstance(part, Conv1D):
            yield name, *part.weight.shape
        elif type(part) is torch.nn.Linear:
            yield name, part.in_features, part.out_features
        elif name.endswith(".experts"):
            for key, value in part.named_parameters(recurse=False):
                if key.endswith("bias"):
                    continue
                count, outer, inner = value.shape
                if getattr(part, "is_transposed", False) or "GptOss" in type(part).__name__:
                    inner, outer = outer, inner
                if "Llama4" in type(part).__name__:
                    inner, outer = value.shape[1:]
                pieces = 2 if key == "gate_up_proj" else 1
                for expert in range(count):
                    for piece in range(pieces):
                        role = ("gate_proj", "up_proj")[piece] if pieces == 2 else key
                        yield f"{name}.{expert}.{role}", inner, outer // pieces


def packed(tensors: Tensors) -> int:
    return sum(math.prod(shape) * size for shape, size in tensors)


def bytes_of(
    module: torch.nn.Module,
    layout: Callable[[str, int, int], Tensors | None],
    dtype_bytes: int,
) -> int:
    """All weights: those with a layout in it, all others in the dtype.

    Args:
        module: on ``meta``.
        layout: of a linear layer's name, inputs and outputs; None where it stays as it is.
    """
    total = sum(parameter.numel() for parameter in module.parameters()) * dtype_bytes
    for name, inner, outer in linear_layers(module):
        tensors = layout(name, inner, outer)
        if tensors is not None:
            total += packed(tensors) - inner * outer * dtype_bytes
    return total


def up(amount: int, by: int) -> int:
    return -(-amount // by)


def fp8_blocks(inner: int, outer: int, size: int = 128, scale: int = 4) -> Tensors:
    return [((outer, inner), 1), ((up(outer, size), up(inner, size)), scale)]


def modelopt_fp8(inner: int, outer: int, scales: int = 2) -> Tensors:
    return [((outer, inner), 1), *[((), 4)] * scales]


def modelopt_nvfp4(inner: int, outer: int, scales: int = 2) -> Tensors:
    """``weight``, ``weight_scale``, then ``weight_scale_2`` and ``input_scale``."""
    return [((outer, inner // 2), 1), ((outer, inner // 16), 1), *[((), 4)] * scales]


def mxfp4(inner: int, outer: int) -> Tensors:
    """``blocks`` of 16 bytes for 32 numbers, and ``scales``."""
    return [((outer, inner // 32, 16), 1), ((outer, inner // 32), 1)]


def awq(inner: int, outer: int, group: int = 128) -> Tensors:
    """``qweight``, ``qzeros``, ``scales``."""
    groups = inner // group
    return [((inner, outer // 8), 4), ((groups, outer // 8), 4), ((groups, outer), 2)]


def gptq(inner: int, outer: int, bits: int = 4, group: int = 128) -> Tensors:
    """``qweight``, ``qzeros``, ``scales``, ``g_idx``."""
    groups = up(inner, group)
    return [
        ((inner // 32 * bits, outer), 4),
        ((groups, outer // 32 * bits), 4),
        ((groups, outer), 2),
        ((inner,), 4),
    ]


def compressed_int4(inner: int, outer: int, group: int, zeros: bool = False) -> Tensors:
    """``weight_packed``, ``weight_scale``, ``weight_shape``, ``weight_zero_point``."""
    groups = inner // group
    made: Tensors = [((outer, up(inner, 8)), 4), ((outer, groups), 2), ((2,), 8)]
    return [*made, ((up(outer, 8), groups), 4)] if zeros else made


def llm_int8(inner: int, outer: int) -> Tensors:
    """``weight`` and ``SCB``."""
    return [((outer, inner), 1), ((outer,), 4)]


def nf4(inner: int, outer: int, nested: bool = False) -> Tensors:
    """The packed weight, ``absmax`` and ``code``; nested, ``absmax`` is quantised itself."""
    blocks = up(inner * outer, 64)
    made: Tensors = [((up(inner * outer, 2),), 1), ((16,), 4)]
    if not nested:
        return [*made, ((blocks,), 4)]
    return [*made, ((blocks,), 1), ((up(blocks, 256),), 4), ((256,), 4), ((), 4)]
