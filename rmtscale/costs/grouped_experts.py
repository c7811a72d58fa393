"""Counts the bytes of a mixture of experts whose experts are multiplied as one grouped matmul.

That is how Transformers multiplies them on a GPU unless it is told otherwise: tokens are copied
once for each of their experts, sorted by expert, multiplied, weighted, and sorted back. Every
number below is a tensor of the released module; the tests hold the sums against all tensors alive.

Symbols: d width, f width of an expert, k experts a token, w bytes of the dtype, c bytes of a score.
"""

from __future__ import annotations

from rmtscale.costs.written import how_written
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.layers import FeedForward
from rmtscale.specs.model import ModelSpec

_FP32_BYTES = 4
_INDEX_BYTES = 8
"""Numbers of experts and places are int64."""


def experts_of(model: ModelSpec) -> FeedForward | None:
    """The mixture that every layer of a model has; None of a dense one."""
    if not isinstance(model, LayeredSpec):
        return None
    block = model.groups[0][0].feed_forward
    return block if block.experts else None


def _score_bytes(model: ModelSpec, w: int) -> int:
    return _FP32_BYTES if how_written(model).fp32_scores else w


def kept_token(model: ModelSpec, block: FeedForward, w: int) -> int:
    """Bytes kept of one token for the backward pass.

    Copies of the token and what the experts make of them; the gate and the up-projection, the
    activation and the product; probabilities of all experts, the sums and scores of the chosen
    ones, their numbers, and three orders of the copies.
    """
    k, wide = block.active, 2 * model.width + 4 * block.inner
    chosen = 4 * _INDEX_BYTES + _FP32_BYTES + _score_bytes(model, w)
    return k * (wide * w + chosen) + _FP32_BYTES * (block.experts + 1)


def forward_token(model: ModelSpec, block: FeedForward, w: int) -> int:
    """Bytes alive of one token at most, nothing kept: at the product, or where it is weighted."""
    k, d, f = block.active, model.width, block.inner
    multiplied = (d + 4 * f) * w
    weighted = 2 * d * (w + _score_bytes(model, w))
    orders = 3 * _INDEX_BYTES + 3 * _FP32_BYTES
    return k * (max(multiplied, weighted) + orders) + block.experts * w


def backward_token(model: ModelSpec, block: FeedForward, w: int) -> tuple[int, int, int]:
    """Bytes of one token in the backward pass, less what is freed by then, at three moments.

    Where the weighted sum is differentiated, at the product, and where the first of the grouped
    matmuls is: with no weight's gradient, that of the down-projection, and that of both.
    """
    k, d, f, c = block.active, model.width, block.inner, _score_bytes(model, w)
    weighted = k * d * (3 * c + (w if c != w else 0))
    product = k * (2 * f - d) * w
    first = k * (2 * d + 2 * f) * w - kept_token(model, block, w)
    return d * w + weighted, d * w + product, d * w + first
