"""Kernels of one layer: those of the operators of ``taped_layer``, and what attention adds to them.

Which copies, masks and casts eager attention makes is a matter of how a family's module is written;
a test holds all of it against the operators of the real modules.
"""

from __future__ import annotations

from functools import lru_cache

from rmtscale.costs.layer_shape import LayerShape
from rmtscale.costs.tape import Value
from rmtscale.costs.taped_layer import LayerTape, Training
from rmtscale.costs.time.kernel_tape import KernelTape
from rmtscale.costs.time.kernels import COPY, JOIN, PLAIN, REDUCE, SPREAD, UNEVEN, Attention
from rmtscale.specs.precision import FP32_BYTES, Precision


class LayerKernels(LayerTape):
    """One layer whose tape is one of kernels."""

    tape: KernelTape

    def _rotate_in_part(self, x: Value, table: Value) -> Value:
        turned = x.numbers * self.shape.rotary_width // self.shape.head_width
        tape = self.tape
        front = tape.rotated(x, turned, table)
        behind = (x.numbers - turned) * x.width
        out = tape.value(x.numbers, front.width, x.grad)
        tape.launch(JOIN, front.size_bytes + behind + out.size_bytes, out.numbers)
        if x.grad:
            # Each part's gradient becomes one of the whole, and the two are added.
            for part in (turned * x.width, behind):
                tape.differentiate(COPY, part + x.size_bytes, x.numbers)
            tape.differentiate(PLAIN, 3 * x.size_bytes)
            if out.width > x.width:
                tape.differentiate(COPY, behind * out.width // x.width + behind, x.numbers - turned)
        return out

    def _scaled_query(self, q: Value) -> Value:
        return self.tape.scaled(q) if self.shape.kind == "opt" else q

    def _fused_attention(self, q: Value, k: Value, v: Value, sources: tuple[Value, ...]) -> Value:
        shape, tape = self.shape, self.tape
        width = tape.casts.compute_bytes if tape.casts.autocast else q.width
        out = tape.attend(
            *(self._scaled_query(q), k, v),
            Attention(
                *(self.batch * shape.heads, self.size, shape.head_width, width, False),
                *(shape.causal, shape.window),
            ),
        )
        self._joined_gradient(q, sources)
        if shape.kind == "gpt_neox" and width < FP32_BYTES:
            tape.launch(COPY, 2 * out.size_bytes, out.numbers)
        return out

    def _joined_gradient(self, q: Value, sources: tuple[Value, ...]) -> None:
        """Copies the gradient of query, key and value in the order of their one matrix."""
        if sources and self.shape.rotary and q.grad:
            self.tape.differentiate(COPY, 2 * sources[0].size_bytes, sources[0].numbers)

    def _square(self, q: Value, k: Value, v: Value, sources: tuple[Value, ...]) -> Value:
        shape, tape = self.shape, self.tape
        heads, size, width = self.batch * shape.heads, self.size, shape.head_width
        q, neo = self._scaled_query(q), shape.kind == "gpt_neo"
        if neo:
            q, k = tape.cast(q, FP32_BYTES), tape.cast(k, FP32_BYTES)
        if shape.kv_heads != shape.heads:
            wide = self.tokens * shape.query
            k, v = tape.expanded(k, wide), tape.expanded(v, wide)
        if not shape.eager:  # the ``math`` form scales both, and makes a mask in each layer
            q, k = tape.scaled(q), tape.scaled(k)
            for numbers in (1, 2, 1 + FP32_BYTES):
                tape.launch(COPY, numbers * size * size, size * size)
        if self.batch > 1:  # what is no whole batch of matrices is copied
            for one in (v,) if shape.rotary else (q, k, v):
                tape.launch(COPY, 2 * one.size_bytes, one.numbers)
        score = tape.batched(q, k, heads, size, size, width)
        score = self._masked(score)
        exact = shape.fp32_softmax or tape.casts.autocast
        score = tape.softmax(score, FP32_BYTES if exact else score.width, 1)
        back = v.width if shape.kind in ("gpt2", "gpt_neo") or not shape.eager else q.width
        if not shape.eager:  # rows that a mask has emptied become zeros
            tape.launch(PLAIN, score.size_bytes + score.numbers)
            tape.launch(REDUCE, score.numbers)
            tape.launch(SPREAD, 2 * score.size_bytes, score.numbers)
        score = tape.cast(score, back)
        score = tape.dropout(score, shape.attention_dropout)
        out = tape.batched(score, v, heads, size, width, size)
        tape.launch(COPY, 2 * out.size_bytes, out.numbers)
        if out.grad:
            self._copied_gradients(q, k, v, out, sources)
        return out

    def _copied_gradients(
        self, q: Value, k: Value, v: Value, out: Value, sources: tuple[Value, ...]
    ) -> None:
        """Copies gradients of query, key and value in the order of what made them."""
        shape, tape = self.shape, self.tape
        if not shape.rotary:
            for one in (q, k):
                tape.differentiate(COPY, 2 * one.numbers * out.width, one.numbers)
        self._joined_gradient(q, sources)
        if shape.rotary and shape.kv_heads != shape.heads:
            keys = v.numbers * shape.kv_heads // shape.heads
            tape.differentiate(COPY, 2 * keys * v.width, keys)
        if self.batch > 1:
            for _ in range(1 + (not shape.rotary and not sources)):
                tape.differentiate(COPY, 2 * out.size_bytes, out.numbers)

    def _masked(self, score: Value) -> Value:
        """Scores scaled, and with the mask added, which has the dtype of the hidden states."""
        shape, tape = self.shape, self.tape
        pairs, wide = self.size * self.size, self.training.weight_width
        if shape.kind == "gpt_neo":
            tape.launch(UNEVEN, 2 * score.size_bytes + pairs, score.numbers)
            if score.grad:
                tape.differentiate(UNEVEN, 2 * score.size_bytes + pairs, score.numbers)
        elif shape.eager:
            score = tape.scaled(score)
        mask = self.batch * pairs * wide
        return tape.masked(score, mask, wide) if shape.causal else score


@lru_cache(maxsize=512)
def layer_kernels(
    shape: LayerShape, training: Training, casts: Precision, batch: int, size: int, grad: bool
) -> KernelTape:
    """Returns what one layer launches over ``batch`` sequences of ``size`` tokens.

    Args:
        grad: whether a gradient reaches its input.
    """
    tape = KernelTape(casts, row=size, experts=shape.experts)
    hidden = casts.weight_bytes
    x = tape.value(batch * size * shape.width, hidden, grad)
    layer = LayerKernels(tape, shape, training, batch, size)
    table = tape.value(size * (shape.rotary_width or shape.head_width), hidden, False)
    layer.run(x, table)
    return tape
