"""Temporaries that exist only for a moment: the largest temporaries of one layer and of the head.

Bytes, at the operator where they are largest. Tensors that autograd keeps are not in them (see
``activations``), and neither are the workspaces of a library (cuBLAS, cuDNN) nor the allocator's
rounding, which a device adds. Shapes as in ``activations``.
"""

from __future__ import annotations

from typing import NamedTuple

from rmtscale.costs.activations import (
    FP32_BYTES,
    ID_BYTES,
    MASK_BYTES,
    Rates,
    eager_attention,
    softmax_bytes,
)
from rmtscale.costs.grouped_experts import backward_token, experts_of, forward_token
from rmtscale.costs.written import how_written
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import Precision
from rmtscale.specs.workload import Workload

FEED_FORWARD_FORWARD = {"relu": 2, "gelu": 2, "gelu_pytorch_tanh": 2, "silu": 2, "gelu_new": 4}
"""Tensors of feed-forward width alive at once while the activation runs; input and output in it."""
FEED_FORWARD_BACKWARD = {"relu": 2, "gelu": 1, "gelu_pytorch_tanh": 1, "silu": 1, "gelu_new": 2}
"""Gradients of feed-forward width alive at once, less what was saved and is freed by then."""
GATED = {"forward": 3, "backward": 2}
"""Numbers with a gate: activation, up-projection and product; and their two gradients."""
SCORES = 2
"""Squares of attention alive at once: one operator's input and its output."""


class LayerBackward(NamedTuple):
    """The backward pass of one layer, its gradients included, by what becomes of these."""

    new: int
    """They stay."""
    added: int
    """Each is added to one that there is."""
    summed: int
    """They stay as sums over segments, in the dtype of copies that these share."""
    added_to_sum: int
    """Each is added to such a sum."""


class LayerWork(NamedTuple):
    """Temporaries of one layer in bytes, by what it is doing."""

    forward: int
    """Forward, nothing kept for a backward pass."""
    feed_forward: int
    """Backward, in the feed-forward block."""
    attention: int
    """Backward, in the attention, less what the feed-forward block and its norm have freed."""
    taped: LayerBackward | None = None
    """Backward, where it was read off a tape: the other two are those of gradients that stay."""


def mask_bytes(model: ModelSpec, workload: Workload, size: int, *, used_only: bool = False) -> int:
    """The additive masks of eager attention; fused kernels and encoders need none.

    ``used_only`` leaves out one that is made and given to no layer.
    """
    if not (model.decoder and eager_attention(model, workload)):
        return 0
    windows = model.windows if isinstance(model, LayeredSpec) else frozenset({0})
    kinds = len({bool(window) for window in windows})
    masks = kinds if used_only or how_written(model).one_mask else 1 + any(windows)
    return masks * workload.batch_size * size * size * workload.dtype_bytes


def layer_work(
    model: ModelSpec, workload: Workload, rates: Rates, size: int, held: int
) -> LayerWork:
    """Largest temporaries of one layer over the workload's batch of ``size`` tokens each.

    ``held`` tensors of model width are there through all layers (``Written.held``).
    """
    w, batch = workload.dtype_bytes, workload.batch_size
    tokens, square = batch * size, batch * size * size
    width, query, kv, inner = model.width, model.query_width, model.kv_width, model.mlp_width
    forward, backward = FEED_FORWARD_FORWARD, FEED_FORWARD_BACKWARD
    written = how_written(model)
    up = GATED["forward"] if model.gated_mlp else forward[model.activation]
    up += written.joint_gate  # the gate cannot go before the up-projection does
    down = GATED["backward"] if model.gated_mlp else backward[model.activation]
    # Behind a post-norm, what attention reads is the block's input and its residual as well.
    around = (held + 2 * (not model.post_norm)) * width
    in_attention = tokens * w * (around + 2 * query + 2 * kv)
    block_held = held + written.block_held
    in_feed_forward = tokens * w * (block_held * width + up * inner)
    in_backward = tokens * (w * (width + down * inner))
    experts, at_first_matmul = experts_of(model), None
    if experts is not None:
        in_feed_forward = tokens * (w * block_held * width + forward_token(model, experts, w))
        weighted, product, first = backward_token(model, experts, w)
        # The gradient of the down-projections is counted with both, and is not there at first.
        in_backward = max(tokens * weighted - experts.experts * inner * width * w, tokens * product)
        at_first_matmul = tokens * first
    if not rates.fused:
        probabilities = square * model.heads * w
        score = softmax_bytes(model, w)
        in_attention += SCORES * score * model.heads * square
        if eager_attention(model, workload):
            mask = mask_bytes(model, workload, size)
            in_attention += mask
            if score != w or written.fp32_query_key:
                # The scores in the dtype beside the fp32 softmax; GPT-Neo: the layer's before.
                in_attention += probabilities
            in_feed_forward += probabilities + mask  # the block holds what its attention returned
            written_out = 1
        else:  # SDPA's math form makes its causal mask anew: as booleans, then in the dtype
            in_attention += size * size * (MASK_BYTES + w)
            written_out = 2
        if kv != query:  # grouped heads, once per query head: keys, and in the math form values
            in_attention += written_out * tokens * w * query
    norm_freed = rates.norms_token // 2 if model.post_norm else 0
    freed = rates.feed_forward_token + rates.norms_token // 2 + norm_freed + query * w
    # A fused kernel makes all three at once; in the softmax only the values have theirs.
    gradients = width + (2 * (query + kv) if rates.fused else kv)
    at_attention = tokens * (w * gradients - freed) + square * rates.pair_work
    if at_first_matmul is not None:  # by then all gradients of the block are there, too
        at_attention = max(at_attention, at_first_matmul)
    return LayerWork(
        max(in_feed_forward, in_attention), in_backward - tokens * norm_freed, at_attention
    )


class HeadWork(NamedTuple):
    """Logits, loss and their gradients in bytes, by when they are alive."""

    saved: int
    """Kept from forward to backward: the log-softmax in fp32, and the labels."""
    forward: int
    """Without a loss: the logits."""
    loss: int
    """At the start of the backward pass: log-softmax and two gradients, all in fp32."""
    projection: int
    """While the head's matrix is differentiated: the gradient of the logits."""
    weight: int
    """Gradient of the head's matrix; 0 where it is frozen."""
    cast: int = 0
    """Autocast: the 16-bit copy of the head's matrix."""
    weight_cast: int = 0
    """Autocast: the same of its gradient, until it is cast."""
    text: int = 0
    """Gradient by the hidden states of the text."""


def head_work(
    model: ModelSpec, casts: Precision, batch: int, text: int, *, trained: bool = True
) -> HeadWork:
    """Counts what head and loss take over ``batch`` sequences with ``text`` tokens of loss."""
    w, wide = casts.compute_bytes, casts.weight_bytes
    if model.head == "classification":
        logits = batch * model.labels
        pooled = 2 * batch * model.width * w  # the first token's vector, through a tanh
        return HeadWork(
            logits * w + pooled,
            logits * w + pooled,
            3 * logits * w + pooled,
            pooled,
            model.width * model.width * wide * trained,
        )
    logits = batch * text * model.vocabulary
    labels = batch * text * ID_BYTES
    hidden = batch * text * model.embedding_width
    weights = model.vocabulary * model.embedding_width
    return HeadWork(
        logits * FP32_BYTES + labels,
        logits * w,
        3 * logits * FP32_BYTES + labels,
        logits * w + hidden * w,
        weights * wide * trained,
        weights * w * casts.autocast,
        weights * w * casts.autocast * trained,
        hidden * wide,
    )


class FusedHeadWork(NamedTuple):
    """Counts the bytes that scoring a segment at once takes (``rmtscale.rmt.loss``)."""

    logits: int
    """Logits, and the same in fp32."""
    error: int
    """Gradient of the logits, while it is multiplied."""
    summed: int
    """The head's gradient summed over segments, in fp32."""
    handed_out: int
    """The head's gradient, scaled and in the dtype of the weights."""
    cast: int = 0
    """Autocast: a 16-bit copy of the head's matrix, besides the one that autocast keeps."""


def fused_head_work(
    model: ModelSpec, casts: Precision, batch: int, text: int, *, trained: bool = True
) -> FusedHeadWork:
    """Head and cross-entropy of one segment with ``text`` tokens, and their gradients.

    A head that is called as its own model has it keeps its logits while their gradient is made.
    """
    w, wide = casts.compute_bytes, casts.weight_bytes
    logits = batch * text * model.vocabulary
    weights = model.vocabulary * model.embedding_width
    held = w if isinstance(model, LayeredSpec) else 0
    return FusedHeadWork(
        logits * (FP32_BYTES + (w if w < FP32_BYTES else 0) + held),
        logits * w,
        weights * FP32_BYTES * trained,
        weights * (FP32_BYTES + (wide if wide < FP32_BYTES else 0)) * trained,
        weights * w * casts.autocast,
    )
