"""Activations kept for the backward pass, in bytes per token and per pair of tokens.

Refines the count of Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1: ``34 s b h`` bytes a
layer in 16 bits, plus ``5 a s^2 b`` for the square of attention) to what autograd really saves in
the Hugging Face modules. The numbers below are tensors, each counted once however many operators
save it; parameters and the modules' own tables are not activations. The tests hold every one of
them against the real modules, as integers.

Shapes: B batch, s tokens that the backbone sees at once, d width, f feed-forward width,
q = heads x head width, h heads, V vocabulary.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.grouped_experts import experts_of, kept_token
from rmtscale.costs.written import how_written
from rmtscale.errors import BadInput, quoted_list
from rmtscale.specs.attention import Attention
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.workload import Workload

FP32_BYTES = 4
ID_BYTES = 8
"""Token ids, position ids and labels are int64."""
MASK_BYTES = 1
"""A dropout mask is one byte an element."""

NORM_STATISTICS = {"layer": 2, "rms": 1}
"""fp32 numbers a norm keeps per token: mean and 1/deviation, or 1/root mean square."""

KEPT_BY_ACTIVATION = {
    "relu": 0,  # its backward pass reads the output, which the next matrix keeps anyway
    "gelu": 1,  # the input
    "gelu_pytorch_tanh": 1,
    "silu": 1,
    "gelu_new": 4,  # written in Python: x, x/2, tanh(..) and 1 + tanh(..)
}
"""Tensors of feed-forward width an activation function keeps besides its output."""

FUSED_ROW_BLOCK = 32
"""The memory-efficient kernel (fp32) rounds its log-sum-exp up to blocks of rows."""
FUSED_SEEDS = {4: 16, 2: 24}
"""Bytes of random-number state a fused attention keeps per layer, by bytes of the dtype."""

SOFTMAX_BACKWARD = 3
"""Squares in the softmax's backward pass: both gradients, and torch's CUDA kernel holds a product
of gradient and output (``softmax_backward_cuda_out`` in ``ATen/native/cuda/SoftMax.cu``)."""


class Saved(NamedTuple):
    """Bytes that wait for the backward pass."""

    attention: int
    """Queries, keys, values, probabilities or log-sum-exp, and the output of attention."""
    other: int
    """Norms, feed-forward, dropout masks, embeddings."""

    def times(self, count: int) -> Saved:
        return Saved(self.attention * count, self.other * count)

    def plus(self, more: Saved) -> Saved:
        return Saved(self.attention + more.attention, self.other + more.other)


class Rates(NamedTuple):
    """Bytes per token (B x s), per pair of tokens (B x s^2) and fixed, of a layer or the model."""

    fused: bool
    """A fused kernel runs the attention, which keeps no square."""
    attention_token: int
    attention_pair: int
    pair_work: int
    """Gradients of the square while attention is differentiated, less what is freed by then."""
    attention_fixed: int
    row_block: int
    """Rows to which the fused kernel's log-sum-exp is rounded up; 0 without one."""
    norms_token: int
    feed_forward_token: int
    embedding_token: int
    """Before the layers: embedding, its norm, its projection."""
    final_token: int
    """After the layers: final norm, projection; not the head."""
    position: int
    """Per position, shared by the batch: rotary tables, position ids."""


def fused_attention(model: ModelSpec, workload: Workload) -> bool:
    """Whether a fused kernel (memory-efficient or flash) really runs the attention.

    Not under eager attention; not in GPT-Neo, which has no other; and not with grouped heads in
    fp32, which no fused kernel of torch takes: SDPA then falls back to its ``math`` form, which
    keeps what eager attention keeps.
    """
    if eager_attention(model, workload):
        return False
    return workload.dtype_bytes < FP32_BYTES or model.kv_heads == model.heads


def eager_attention(model: ModelSpec, workload: Workload) -> bool:
    """Whether the module's own eager attention runs."""
    return workload.attention == "eager" or how_written(model).eager_only


def activation_rates(model: ModelSpec, workload: Workload, batch: int) -> Rates:
    """The rates of ``model`` under the workload's dtype, attention and dropout.

    Raises:
        BadInput: an activation function of which it is not known what it keeps.
    """
    dropout = workload.train and workload.dropout is not False
    return _rates(
        model, workload.dtype_bytes, fused_attention(model, workload), dropout, batch == 1
    )


@lru_cache(maxsize=1024)
def _rates(model: ModelSpec, w: int, fused: bool, dropout: bool, alone: bool) -> Rates:
    hidden_mask = MASK_BYTES * (dropout and model.hidden_dropout > 0)
    mask = MASK_BYTES * (dropout and model.attention_dropout > 0)
    return Rates(
        fused,
        _attention_token(model, w, fused, alone),
        0 if fused else model.heads * _pair(model, w, mask),
        0 if fused else model.heads * _pair_work(model, w, mask),
        FUSED_SEEDS[w] if fused else 0,
        0 if not fused else FUSED_ROW_BLOCK if w == FP32_BYTES else 1,
        _norms_token(model, w) + 2 * hidden_mask * model.width,
        _feed_forward_token(model, w),
        _embedding_token(model, w, hidden_mask),
        _final_token(model, w),
        _position(model, w),
    )


def _attention_token(model: ModelSpec, w: int, fused: bool, alone: bool) -> int:
    """Query, key, value and output, as the attention reads them; norms of query and key."""
    query, keys = model.query_width, 2 * model.kv_width
    if not fused:
        keys = 2 * query  # grouped heads are written out once per query head
    kept = 2 * query + keys
    written = how_written(model)
    if written.joint_qkv:
        repeated = model.kv_heads != model.heads  # grouped heads are written out, and not viewed
        if fused or (alone and not repeated):  # the value's view keeps the whole product alive
            kept += query + model.kv_width
        if fused and w < FP32_BYTES:  # flash writes its output head by head; a copy reorders it
            kept += query
    if written.fp32_query_key:
        return (kept - query - model.kv_width) * w + (query + model.kv_width) * FP32_BYTES
    return kept * w + normed_heads(model) * _norm_input(model, w, model.head_width)


def normed_heads(model: ModelSpec) -> int:
    """Heads of query and key that have a norm before they are multiplied."""
    mixer = model.groups[0][0].mixer if isinstance(model, LayeredSpec) else None
    normed = isinstance(mixer, Attention) and mixer.qk_norm == "head"
    return (model.heads + model.kv_heads) * normed


def _pair(model: ModelSpec, w: int, mask: int) -> int:
    """Counts one head: the softmax, and the copy that multiplies the values if it is another."""
    softmax = softmax_bytes(model, w)
    return softmax + (mask + w if mask or softmax != w else 0)


def _pair_work(model: ModelSpec, w: int, mask: int) -> int:
    """Inside the softmax's backward pass, when copy and mask are freed; or the copy's gradient."""
    softmax = softmax_bytes(model, w)
    copies = _pair(model, w, mask) - softmax
    return max(w, SOFTMAX_BACKWARD * softmax - copies)


def softmax_bytes(model: ModelSpec, w: int) -> int:
    """Bytes of one element of eager attention's softmax."""
    return FP32_BYTES if how_written(model).fp32_softmax else w


def _norms_token(model: ModelSpec, w: int) -> int:
    """Both norms of a layer: input, statistics, output (which is what the matrices read)."""
    once = _norm_input(model, w, model.width) + model.width * w
    if model.parallel_blocks:  # both norms read the same input
        return 2 * once - model.width * w
    return 2 * once


def _norm_input(model: ModelSpec, w: int, width: int) -> int:
    statistics = NORM_STATISTICS[model.norm] * FP32_BYTES
    if model.norm == "rms":  # the input in fp32, and the normed input before the weight
        return width * (FP32_BYTES + w) + statistics
    return width * w + statistics


def _feed_forward_token(model: ModelSpec, w: int) -> int:
    experts = experts_of(model)
    if experts is not None:
        return kept_token(model, experts, w)
    gate = 2 if model.gated_mlp else 0  # the up-projection and the product
    return (kept_by_activation(model) + 1 + gate) * model.mlp_width * w


def kept_by_activation(model: ModelSpec) -> int:
    """Tensors of feed-forward width the activation function keeps besides its output.

    Raises:
        BadInput: an activation function that is not in ``KEPT_BY_ACTIVATION``.
    """
    try:
        return KEPT_BY_ACTIVATION[model.activation]
    except KeyError:
        known = quoted_list(KEPT_BY_ACTIVATION)
        raise BadInput(f"activation {model.activation!r}: expected {known}") from None


def _embedding_token(model: ModelSpec, w: int, hidden_mask: int) -> int:
    kept = 0
    if how_written(model).positions_of_mask:
        kept += ID_BYTES
    else:
        kept += hidden_mask * model.width
    if model.embedding_norm:
        kept += _norm_input(model, w, model.width)
    if model.projected_embedding:
        kept += model.embedding_width * w
    if model.post_norm:  # the first layer's input: no norm in front of it keeps it
        kept += model.width * w
    return kept


def _final_token(model: ModelSpec, w: int) -> int:
    kept = 0
    if model.final_norm:  # its output is what the head reads
        kept += _norm_input(model, w, model.width) + model.width * w
    if model.projected_embedding:
        kept += model.embedding_width * w
    return kept


def _position(model: ModelSpec, w: int) -> int:
    if model.rotary_width:
        return 2 * model.rotary_width * w  # cosine and sine
    return 0 if how_written(model).positions_of_mask else ID_BYTES


def layer_activations(model: ModelSpec, rates: Rates, batch: int, size: int) -> Saved:
    """Bytes one layer keeps of ``batch`` sequences of ``size`` tokens."""
    attention = batch * size * (rates.attention_token + size * rates.attention_pair)
    attention += rates.attention_fixed
    if rates.row_block:
        rows = -(-size // rates.row_block) * rates.row_block
        attention += batch * model.heads * rows * FP32_BYTES
    return Saved(attention, batch * size * (rates.norms_token + rates.feed_forward_token))


def backbone_activations(
    model: ModelSpec,
    workload: Workload,
    rates: Rates,
    batch: int,
    size: int,
    layer: Saved | None = None,
) -> Saved:
    """Bytes the whole backbone keeps, without head and loss; layer inputs only if checkpointed.

    Args:
        layer: what one layer keeps, where it has been counted already.
    """
    outside = batch * size * (rates.embedding_token + rates.final_token) + size * rates.position
    if workload.checkpoint_layers:
        # After a post-norm, the first layer's input is among the embedding's activations; what
        # the last layer puts out is kept where it is projected.
        inputs = model.layers - model.post_norm + (model.post_norm and model.projected_embedding)
        return Saved(0, outside + inputs * batch * size * model.width * workload.dtype_bytes)
    if layer is None:
        layer = layer_activations(model, rates, batch, size)
    return Saved(layer.attention * model.layers, layer.other * model.layers + outside)
