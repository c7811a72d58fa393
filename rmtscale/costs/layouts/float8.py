"""Matmuls in float8: twice the rate of 16 bits, and the traffic of the casts before them.

What a cast moves is torchao's own count (``torchao/testing/float8/roofline_utils.py`` of 2025-06):
in 16 bits a tensor is read for its largest number, read again, and written in both orders that the
forward and the backward pass need. The linears of the layers are in float8 and the head is not
(torchtitan's ``module_filter_fn``, 2024-12, and ``filter_fqns`` of its Llamas, 2025-06).
"""

from __future__ import annotations

from typing import NamedTuple

from rmtscale.specs.model import ModelSpec

RATE = 2.0
"""Times the 16-bit rate (NVIDIA H100 data sheet, 2023)."""


class Float8(NamedTuple):
    """Bytes that casts move for each number."""

    value: int
    """For an input or the gradient of an output, in both orders."""
    weight_forward: int
    weight_backward: int


TENSORWISE = Float8(value=2 + 2 + 1 + 1, weight_forward=2 + 2 + 1, weight_backward=2 + 1)
ROWWISE = Float8(value=2 + 1 + 2 + 2 + 1, weight_forward=2 + 1, weight_backward=2 + 2 + 2 + 1)
"""One scale for a tensor, or one for each of its rows."""


def cast_bytes(model: ModelSpec, float8: Float8, tokens: float, tp: int) -> tuple[float, float]:
    """Returns the bytes that the casts of one layer move on a rank, forward and backward.

    Matrices that read the same input share its cast.
    """
    query, keys, inner = model.query_width, model.kv_width, model.mlp_width
    up = 1 + model.gated_mlp
    read = 2 * model.width + (query + inner) / tp
    gradients = 2 * model.width + (query + 2 * keys + up * inner) / tp
    weights = model.width * (2 * query + 2 * keys + (up + 1) * inner) / tp
    return (
        tokens * read * float8.value + weights * float8.weight_forward,
        tokens * gradients * float8.value + weights * float8.weight_backward,
    )
