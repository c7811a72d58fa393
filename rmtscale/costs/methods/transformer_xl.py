"""Transformer-XL: segments that see the cached hidden states of the one before, layer by layer.

Dai et al. 2019 (section 3.2 and 3.3): keys and values are made of memory and segment, queries of
the segment; logits have a second product, with projected relative positions. Counted: all of it;
the memory is always full (zeros at first), as in the released code. Left out: softmax, the shift
that aligns positions. FLOPs grow linearly; state (hidden states of the memory in every layer) and
activations (no gradient leaves a segment) are constant. Longest context reported: an attention
length of 3,800 in evaluation (enwik8, section 4.1); the input itself may be of any length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rmtscale.costs.methods.matmuls import attend, cache_bytes, projections
from rmtscale.costs.methods.method import Growth, Method, Reported, ceil_div, smaller
from rmtscale.costs.terms import Count, PassTerm, bmm, linear
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class TransformerXL(Method):
    """Segment recurrence with a memory of hidden states."""

    name = "transformer-xl"
    title = "Transformer-XL"
    source = "Dai et al. 2019"
    pretrained = False
    growth = Growth("linear", "constant", "constant")
    reported: ClassVar[Reported | None] = Reported(
        3_800, "Dai et al. 2019, section 4.1 (attention length)"
    )

    segment: int = 384
    memory: int = 384

    def remembered(self) -> int:
        """Memory slots that a segment attends to besides itself."""
        return self.memory

    def at_once(self, model: ModelSpec, tokens: Count, *, train: bool) -> Count:
        del model, train
        return smaller(tokens, self.segment)

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        full, rest = tokens // self.segment, tokens % self.segment
        keys = tokens + ceil_div(tokens, self.segment) * self.remembered()
        pairs = full * (self.segment * (self.segment + self.remembered()))
        pairs = pairs + rest * (rest + self.remembered())
        width, query, layers = model.width, model.query_width, model.layers
        return (
            *projections(model, tokens, keys),
            linear("positions", keys, width, query, layers),
            *attend(model, pairs, keys),
            bmm("position_logits", pairs * (query * layers), keys * (query * layers)),
        )

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        """Hidden states of the memory, and keys and values of the open segment."""
        hidden = self.remembered() * model.width * model.layers * dtype_bytes
        return hidden + cache_bytes(model, smaller(tokens, self.segment), dtype_bytes)

    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        keys = positions + self.remembered()
        rows = positions * (2 * model.query_width)
        kept = keys * (model.width + 2 * model.kv_width + model.query_width)
        return (rows + kept + positions * keys * model.heads) * dtype_bytes
