"""Optimizers: bytes that they keep between steps, and that they hold while they step.

Each is held against the real optimizer's own tensors. Counters of steps (four bytes a tensor, on
the host for most) are left out.

* ``adamw``, ``adamw-fused``: two moments as large as the weights (Kingma and Ba 2015). The foreach
  form also holds the denominators of all weights while it steps.
* ``adamw-8bit``: two moments of one byte a number and one fp32 maximum for each block of 256
  (Dettmers et al. 2022); tensors under 4,096 numbers keep fp32 moments, and two tables of 256
  fp32 values are shared. It is what bitsandbytes' ``AdamW8bit`` allocates.
* ``adafactor``: for a matrix a vector as long as it is high and one as long as it is wide
  (Shazeer and Stern 2018); for a vector one of its size. torch's steps on one tensor at a time.
* ``lion``: one moment (Chen et al. 2023).
* ``muon``: one moment of each matrix inside the blocks (Jordan et al. 2024), AdamW's two of all
  else. While a matrix is made orthogonal there are copies of it in bf16.
* ``sgd`` (without momentum) and ``none`` keep nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from rmtscale.costs.parameter_shapes import Tensors
from rmtscale.specs.precision import FP32_BYTES

MOMENTS = {"adamw": 2, "adamw-fused": 2, "lion": 1, "sgd": 0, "none": 0}
"""Numbers kept per weight, of those that keep the same of every tensor."""
BLOCK_NUMBERS = 256
"""8-bit: numbers that share one fp32 maximum."""
SMALLEST_8BIT_NUMBERS = 4096
"""8-bit: a tensor of fewer numbers keeps fp32 moments."""
TABLE_NUMBERS = 256
"""8-bit: values that a byte stands for, signed for the first moment and unsigned for the second."""
BF16_BYTES = 2
TRAFFIC_NUMBERS = {
    "adamw": 7,
    "adamw-fused": 7,
    "adamw-8bit": 3,
    "adafactor": 3,
    "lion": 5,
    "muon": 5,
    "sgd": 3,
    "none": 0,
}
"""Numbers read or written per weight and step: AdamW reads weight, gradient and two moments and
writes three of them back, Lion and Muon have one moment, SGD and Adafactor none of the weights'
size; the bytes of 8-bit moments are left out, as are Muon's matmuls."""


def state_bytes(optimizer: str, tensors: Iterable[Tensors], number_bytes: int) -> int:
    """Counts what ``optimizer`` keeps of the trained ``tensors`` between steps.

    Args:
        number_bytes: of a moment, where it has the dtype of what it steps on.
    """
    tensors = tuple(tensors)
    if optimizer in MOMENTS:
        return MOMENTS[optimizer] * number_bytes * sum(one.numbers for one in tensors)
    if optimizer == "adafactor":
        return number_bytes * sum(one.copies * _factors(one.shape) for one in tensors)
    if optimizer == "muon":
        moments = sum((1 if _orthogonal(one) else 2) * one.numbers for one in tensors)
        return number_bytes * moments
    kept = sum(one.copies * _quantized_bytes(one.each) for one in tensors)
    some = any(one.each >= SMALLEST_8BIT_NUMBERS for one in tensors)
    return kept + 2 * some * TABLE_NUMBERS * FP32_BYTES


def _factors(shape: tuple[int, ...]) -> int:
    """Numbers that Adafactor keeps of one tensor."""
    if len(shape) < 2:
        return shape[0]
    *outer, high, wide = shape
    several = 1
    for size in outer:
        several *= size
    return several * (high + wide)


def _orthogonal(one: Tensors) -> bool:
    """Whether Muon steps on it: a matrix inside a block."""
    return one.in_block and len(one.shape) == 2


def _quantized_bytes(numbers: int) -> int:
    """Bytes of two 8-bit moments of one tensor."""
    if numbers < SMALLEST_8BIT_NUMBERS:
        return 2 * numbers * FP32_BYTES
    blocks = -(-numbers // BLOCK_NUMBERS)
    return 2 * (numbers + blocks * FP32_BYTES)


def work_bytes(optimizer: str, tensors: Iterable[Tensors], number_bytes: int) -> int:
    """Counts what ``optimizer`` holds at most while it steps, besides weights, gradients, state."""
    tensors = tuple(tensors)
    if optimizer == "adamw":
        return number_bytes * sum(one.numbers for one in tensors)
    if optimizer == "lion":  # the update, of one tensor at a time
        return number_bytes * max((one.each for one in tensors), default=0)
    if optimizer == "adafactor":  # and the one before, whose name still holds it
        sizes = [one.each for one in tensors]
        pairs = zip(sizes, [*sizes[1:], 0], strict=True)
        return number_bytes * max((sum(pair) for pair in pairs), default=0)
    if optimizer == "muon":
        others = number_bytes * sum(one.numbers for one in tensors if not _orthogonal(one))
        largest = max((_orthogonal_bytes(one, number_bytes) for one in tensors), default=0)
        return max(others, largest)
    return 0


def _orthogonal_bytes(one: Tensors, number_bytes: int) -> int:
    """Counts one matrix: the update, its copy in bf16 and the next one, and two small squares."""
    if not _orthogonal(one):
        return 0
    short = min(one.shape)
    cast = one.each * BF16_BYTES * (1 if number_bytes == BF16_BYTES else 2)
    update = one.each * number_bytes
    return update + cast + 2 * short * short * BF16_BYTES
