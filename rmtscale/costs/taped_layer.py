"""One layer of a decoder or encoder on a tape: norms, attention, feed-forward, adapters.

The operators are those of the Hugging Face modules, in their order, as they run on a GPU: fused
attention where a kernel takes the heads, experts through ``grouped_mm``.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.activations import (
    FUSED_ROW_BLOCK,
    FUSED_SEEDS,
    ID_BYTES,
    SOFTMAX_BACKWARD,
)
from rmtscale.costs.layer_shape import LayerShape
from rmtscale.costs.tape import Storage, Tape, Value
from rmtscale.specs.adapter import ATTENTION, Adapter
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import FP32_BYTES, Precision
from rmtscale.specs.projections import FEED_FORWARD, targeted


@dataclass(frozen=True, slots=True)
class Training:
    """A layer's weights: whether they are trained, and their dtypes."""

    weight_width: int
    trained: bool
    """Whether the layer's own weights are."""
    adapter: Adapter | None = None
    adapter_width: int = 0
    """Bytes of an adapter's weight."""
    targets: frozenset[tuple[str, str]] = frozenset()
    """Where LoRA is: part and name of the linear layers."""


def training_of(model: ModelSpec, casts: Precision, adapter: Adapter | None) -> Training:
    """Returns what is trained; ``peft`` keeps LoRA's weights in fp32 whatever the model's are."""
    if adapter is None:
        return Training(casts.weight_bytes, trained=True)
    if not adapter.lora:
        return Training(casts.weight_bytes, False, adapter, casts.weight_bytes)
    targets = frozenset((one.part, one.name) for one in targeted(model, adapter))
    return Training(casts.weight_bytes, False, adapter, FP32_BYTES, targets)


OFFSET_BYTES = 4
"""Where an expert's rows begin, in int32."""


class LayerTape:
    """One layer over ``batch`` sequences of ``size`` tokens, operator by operator."""

    def __init__(
        self, tape: Tape, shape: LayerShape, training: Training, batch: int, size: int
    ) -> None:
        self.tape, self.shape, self.training = tape, shape, training
        self.batch, self.size, self.tokens = batch, size, batch * size
        self.returned: tuple[Value, ...] = ()
        """Probabilities of eager attention, which it returns and the layer holds."""
        self.inner: Value
        """Output of the activation, between the two matrices of a feed-forward."""

    def run(self, x: Value, table: Value) -> Value:
        """Runs the layer on hidden states ``x``; ``table``: cosines and sines of positions."""
        tape, shape = self.tape, self.shape
        if shape.post_norm:
            mixed = self._norm(tape.add(x, self._attention(x, table)))
            fed = self._feed_forward(mixed)
            out = self._norm(tape.add(mixed, fed))
            if shape.kind == "bert":
                tape.hold(mixed, self.inner, fed)
            return out
        attended = self._attention(self._norm(x), table)
        if shape.parallel:
            return tape.add(tape.add(self._feed_forward(self._norm(x)), attended), x)
        mixed = tape.add(x, attended)
        out = self._feed_forward(self._norm(mixed))
        tape.hold(*self.returned, *([attended] if shape.block_held > 3 else []))
        return tape.add(mixed, out)

    def _hold_norm(self, x: Value) -> None:
        """Most layers have a name for what a block reads while it runs."""
        if self.shape.block_held > 2:
            self.tape.hold(x)

    def _norm(self, x: Value) -> Value:
        return norm(self.tape, x, self.tokens, self.training, rms=self.shape.rms)

    def _linear(self, x: Value, part: str, name: str, inner: int, outer: int, bias: bool) -> Value:
        """A linear layer, with LoRA beside it where it is a target (``peft``'s ``Linear``)."""
        tape, training = self.tape, self.training
        width = training.weight_width
        made = tape.linear(x, inner, outer, width, trained=training.trained, bias=bias)
        if (part, name) not in training.targets or training.adapter is None:
            return made
        rank, wide = training.adapter.rank, training.adapter_width
        low = tape.linear(tape.cast(x, wide), inner, rank, wide, trained=True)
        added = tape.scaled(tape.linear(low, rank, outer, wide, trained=True))
        return tape.cast(tape.add(made, added), made.width)

    def _attention(self, x: Value, table: Value) -> Value:
        shape, tape = self.shape, self.tape
        attended = self._mixed(x, table)
        out = self._linear(
            attended, ATTENTION, shape.names[3], shape.query, shape.width, shape.output_bias
        )
        self._hold_norm(x)
        return tape.dropout(out, shape.hidden_dropout)

    def _mixed(self, x: Value, table: Value) -> Value:
        shape, tape = self.shape, self.tape
        query, keys, bias = shape.query, shape.keys, shape.qkv_bias
        if shape.fused_projection:
            made = self._linear(x, ATTENTION, shape.names[0], shape.width, query + 2 * keys, bias)
            q, k, v = tape.split(made, (self.tokens * wide for wide in (query, keys, keys)))
            sources: tuple[Value, ...] = (made,)
        else:
            q = self._linear(x, ATTENTION, shape.names[0], shape.width, query, bias)
            k = self._linear(x, ATTENTION, shape.names[1], shape.width, keys, bias)
            v = self._linear(x, ATTENTION, shape.names[2], shape.width, keys, bias)
            q, k = self._normed_heads(q, shape.heads), self._normed_heads(k, shape.kv_heads)
            sources = ()
        if shape.rotary:
            rotate = self._rotate_in_part if sources else tape.rotate
            q, k = rotate(q, table), rotate(k, table)
        if self._fused(q):
            return self._fused_attention(q, k, v, sources)
        return self._square(q, k, v, sources)

    def _rotate_in_part(self, x: Value, table: Value) -> Value:
        """The front of each head is rotated, and joined with what is behind it."""
        self.tape.keep(table)
        return self.tape.value(x.numbers, max(x.width, table.width), x.grad)

    def _normed_heads(self, x: Value, heads: int) -> Value:
        kind = self.shape.qk_norm
        if kind == "none":
            return x
        rows = self.tokens * (heads if kind == "head" else 1)
        return norm(self.tape, x, rows, self.training, rms=True)

    def _fused(self, q: Value) -> bool:
        """A fused kernel takes 16 bits, or fp32 where every query head has its own keys."""
        shape, casts = self.shape, self.tape.casts
        width = casts.compute_bytes if casts.autocast else q.width
        return not shape.eager and (width < FP32_BYTES or shape.kv_heads == shape.heads)

    def _fused_attention(self, q: Value, k: Value, v: Value, sources: tuple[Value, ...]) -> Value:
        shape, tape = self.shape, self.tape
        width = tape.casts.compute_bytes if tape.casts.autocast else q.width
        block = FUSED_ROW_BLOCK if width == FP32_BYTES else 1
        rows = -(-self.size // block) * block
        out = tape.fused_attention(
            *(q, k, v), FUSED_SEEDS[width], self.batch * shape.heads * rows, sources
        )
        tape.hold(q, k, v)
        if shape.kind == "gpt_neox" and width < FP32_BYTES:
            out = tape.scaled(out)  # head by head; a copy reorders it
            tape.attention.add(out.storage)
        return out

    def _square(self, q: Value, k: Value, v: Value, sources: tuple[Value, ...]) -> Value:
        """Eager attention, and the form that SDPA falls back to: the whole square is there."""
        shape, tape = self.shape, self.tape
        pairs = self.batch * shape.heads * self.size * self.size
        wide = self.tokens * shape.query
        held: tuple[Value, ...] = (q, k, v)
        if shape.kind == "gpt_neo":
            q, k = tape.cast(q, FP32_BYTES), tape.cast(k, FP32_BYTES)
            held += (q, k)
        if sources and shape.rotary and self.batch > 1:
            v = tape.value(v.numbers, v.width, v.grad)  # a batch of heads is copied in order
        if shape.kv_heads != shape.heads:
            k, v = tape.expanded(k, wide), tape.expanded(v, wide)
        score = tape.product(q, k, pairs, sources)
        score = tape.scaled(score)
        exact = shape.fp32_softmax or tape.casts.autocast
        back = v.width if shape.kind in ("gpt2", "gpt_neo") else q.width
        width = FP32_BYTES if exact else score.width
        # A softmax reads what the mask was added to, in fp32; without one, a cast of the scores.
        read = pairs * width if width > score.width else 0
        beside = max(read - score.size_bytes, 0) if shape.causal else read
        if shape.kind == "gpt_neo":  # the layer's before
            beside += pairs * back
        score = tape.softmax(score, width, SOFTMAX_BACKWARD, beside)
        named = shape.kind not in ("gpt2", "gpt_neo")  # softmax and cast are one statement
        score = tape.cast(score, back, pairs * width * named)
        score = tape.dropout(score, shape.attention_dropout)
        self.returned = (score,) if shape.eager else ()
        out = tape.product(score, v, wide, sources)
        tape.hold(*held)
        tape.attention.add(out.storage)
        return out

    def _feed_forward(self, x: Value) -> Value:
        shape, tape, training = self.shape, self.tape, self.training
        made = self._experts(x) if shape.experts else self._dense(x)
        self._hold_norm(x)
        adapter = training.adapter
        if adapter is None or adapter.lora:
            return tape.dropout(made, shape.hidden_dropout)
        inside = not shape.dropout_behind
        if inside:  # the block that an adapter stands beside ends with its dropout
            made = tape.dropout(made, shape.hidden_dropout)
        rank, wide = adapter.rank, training.adapter_width
        low = tape.activation(tape.linear(x, shape.width, rank, wide, trained=True), "relu")
        added = tape.scaled(tape.linear(low, rank, shape.width, wide, trained=True))
        return tape.dropout(tape.add(made, added), shape.hidden_dropout and not inside)

    def _dense(self, x: Value) -> Value:
        shape, tape = self.shape, self.tape
        *_, up, gate, down = shape.names
        bias = shape.mlp_bias
        if not shape.gated:
            inner = self._linear(x, FEED_FORWARD, up, shape.width, shape.inner, bias)
            self.inner = inner = tape.activation(inner, shape.activation)
        else:
            inner = tape.activation(
                self._linear(x, FEED_FORWARD, gate, shape.width, shape.inner, bias),
                shape.activation,
            )
            inner = tape.multiply(
                inner, self._linear(x, FEED_FORWARD, up, shape.width, shape.inner, bias)
            )
        return self._linear(inner, FEED_FORWARD, down, shape.inner, shape.width, bias)

    def _experts(self, x: Value) -> Value:
        """Transformers' ``grouped_mm_experts_forward``: tokens sorted by expert, each once for
        every expert it passes through; it knows nothing of autocast."""
        shape, tape, training = self.shape, self.tape, self.training
        width, trained, rows = training.weight_width, training.trained, self.tokens * shape.active
        logits = tape.linear(x, shape.width, shape.experts, width, trained=trained)
        scores = tape.softmax(tape.cast(logits, FP32_BYTES), FP32_BYTES, 1)
        share = tape.picked(scores, rows, Storage(rows * ID_BYTES))
        if shape.normed_shares:
            share = tape.normed(share, self.tokens)
        if shape.cast_shares:
            share = tape.cast(share, logits.width)
        share = tape.picked(share, rows, Storage(rows * ID_BYTES))
        chosen = tape.picked(x, rows * shape.width, Storage(rows * ID_BYTES))
        chosen = tape.cast(chosen, width)
        matrix = shape.width * shape.inner
        both = tape.grouped(chosen, rows * 2 * shape.inner, shape.experts * 2 * matrix, trained)
        tape.keep(tape.value(shape.experts, OFFSET_BYTES, grad=False))
        gate, up = tape.half(both), tape.half(both)
        product = tape.multiply(tape.activation(gate, "silu"), up)
        out = tape.grouped(product, rows * shape.width, shape.experts * matrix, trained)
        weighted = tape.multiply(out, share)
        tape.hold(chosen)
        back = tape.picked(weighted, rows * shape.width, Storage(rows * ID_BYTES))
        return tape.cast(tape.summed(back, self.tokens * shape.width), x.width)


def norm(tape: Tape, x: Value, rows: int, training: Training, *, rms: bool) -> Value:
    """One norm: LayerNorm's kernel, or RMSNorm as Transformers writes it."""
    if rms:
        return tape.rms_norm(x, rows, training.weight_width, trained=training.trained)
    return tape.layer_norm(x, rows, trained=training.trained)
