"""Kernels of an optimizer's step, and how often it moves each number.

AdamW over lists of tensors (torch's default, ``foreach``) is a chain of a dozen operations, each of
which reads and writes whole tensors: 22 numbers for each weight, where the fused kernel moves 11
and the arithmetic alone would need 7. These, and SGD's 4, are what was measured on an H200
(``profiles/nvidia-h200``); the others are counted from their operations.
"""

from __future__ import annotations

from functools import lru_cache

from rmtscale.costs.parameter_shapes import count_numbers, trained_tensors
from rmtscale.costs.time.kernels import PLAIN, Kernel, Stream
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import FP32_BYTES
from rmtscale.specs.workload import Workload

MOVED_NUMBERS = {"adamw": 22.5, "adamw-fused": 11, "sgd": 4, "lion": 12, "adamw-8bit": 6}
"""Numbers read or written for each weight; of ``lion`` four operations of three numbers each, of
8-bit AdamW weight and gradient in and out, and moments that are a byte."""
LISTED = {"adamw": 11, "adamw-fused": 1, "sgd": 1}
"""Operations on lists of tensors."""
LIST_TENSORS = 36
"""Tensors that one kernel on a list takes care of."""
ONE_BY_ONE = {"adafactor": (10, 19), "adamw-8bit": (1, 1), "lion": (4, 4), "muon": (0, 23)}
"""Operators for a vector and for a matrix, of those that step on one tensor after another. Of
8-bit AdamW it is a kernel a tensor; of Muon the vectors are AdamW's."""
_NARROW_LISTED = 1.22
"""In 16 bits AdamW over lists takes as long as if it moved so many times as much."""
_READ_AND_WRITTEN = 3
"""Numbers that one operation moves for each weight: two in, one out."""


@lru_cache(maxsize=256)
def optimizer_kernels(
    model: ModelSpec, workload: Workload, memory_tokens: int
) -> tuple[Kernel, ...]:
    """Returns the kernels of one optimizer step; none where it is on the host, or there is none."""
    name = workload.optimizer
    if name == "none" or workload.offload_optimizer:
        return ()
    casts = workload.casts
    width = FP32_BYTES if casts.master else casts.weight_bytes
    tensors = trained_tensors(model, workload.adapter, memory_tokens)
    numbers, count = count_numbers(tensors), sum(one.copies for one in tensors)
    kernels: list[Kernel] = []
    if casts.master:  # gradients up, weights down
        each = numbers * (FP32_BYTES + casts.weight_bytes)
        kernels += [Stream(PLAIN, each)] * 2
    if name in LISTED:
        lists = LISTED[name] * -(-count // LIST_TENSORS)
        moved = _moved(name, width) * numbers * width
        return (*kernels, *_even(moved, lists))
    vector, matrix = ONE_BY_ONE[name]
    for one in tensors:
        operations = matrix if len(one.shape) > 1 else vector
        moved = MOVED_NUMBERS.get(name, _READ_AND_WRITTEN * operations) * one.each * width
        kernels += _even(moved, operations) * one.copies
    return tuple(kernels)


@lru_cache(maxsize=256)
def handed_out_kernels(
    model: ModelSpec, workload: Workload, memory_tokens: int
) -> tuple[Kernel, ...]:
    """Returns what hands out the gradients of a captured step: each is scaled in its place."""
    tensors = trained_tensors(model, workload.adapter, memory_tokens)
    moved = 2 * count_numbers(tensors) * workload.casts.weight_bytes
    return _even(moved, -(-sum(one.copies for one in tensors) // LIST_TENSORS))


def _moved(name: str, width: int) -> float:
    """Numbers moved for each weight; short numbers keep a list's kernels from full speed."""
    narrow = _NARROW_LISTED if name == "adamw" and width < FP32_BYTES else 1.0
    return MOVED_NUMBERS[name] * narrow


def _even(moved: float, kernels: int) -> tuple[Kernel, ...]:
    return (Stream(PLAIN, int(moved / kernels)),) * kernels if kernels else ()


def trained_tensor_count(model: ModelSpec, workload: Workload, memory_tokens: int) -> int:
    """Counts the tensors that an optimizer steps on."""
    return _tensor_count(model, workload.adapter, memory_tokens)


@lru_cache(maxsize=256)
def _tensor_count(model: ModelSpec, adapter: Adapter | None, memory_tokens: int) -> int:
    return sum(one.copies for one in trained_tensors(model, adapter, memory_tokens))
