"""Associative RMT: an RMT with an associative memory in every layer.

Rodkin et al. 2024 (section 2, equations 1 to 6): m memory tokens stand at the end of a segment;
each layer reads, for all its positions, a matrix by keys of 64 numbers that a feature map (DPFP-3)
widens to 384, and after the segment writes the memory tokens' values into it by the delta rule.
Counted: the backbone on every segment, the layers' key, value and gate matrices, recall and
update. Left out: softmax, the feature map, normalization. FLOPs and activations (back through all
segments) grow linearly; the state is constant but a memory *per layer*. Widths are those of its
code as we remember them, segment and m those of our RMT. Longest input reported: 50 million tokens
(abstract, one question of BABILong).
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.method import DECODERS, FP32_BYTES, Reported, ceil_div
from rmtscale.costs.methods.rmt import Rmt
from rmtscale.costs.terms import Count, PassTerm, bmm, linear
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Armt(Rmt):
    """The Associative Recurrent Memory Transformer."""

    name = "armt"
    title = "associative RMT"
    source = "Rodkin et al. 2024"
    kinds = (DECODERS,)
    reported = Reported(50_000_000, "Rodkin et al. 2024, abstract")

    key_width: int = 64
    features: int = 384
    """Width of a key after the feature map: 2 x 3 x 64."""

    def overhead(self, model: ModelSpec) -> int:
        del model
        return self.memory_tokens

    def segment_tokens(self, model: ModelSpec) -> int:
        self.recurrence.segment_tokens(model)  # raises where there is no such segment
        return self.segment_size - self.memory_tokens

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        rows = self.positions(model, tokens)
        written = ceil_div(tokens, self.segment_tokens(model)) * self.memory_tokens
        width, layers = model.width, model.layers
        memory = self.features * width * layers
        touched = (self.features + width) * layers
        return (
            *Rmt.mixing(self, model, tokens),
            linear("memory_query", rows, width, self.key_width, layers),
            bmm("memory_read", rows * memory, rows * touched),
            linear("memory_key", written, width, self.key_width, layers),
            linear("memory_value", written, width, width, layers),
            linear("memory_gate", written, width, 1, layers),
            bmm("memory_recall", written * memory, written * touched),
            bmm("memory_write", written * memory, written * touched),
        )

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        """Counts what an RMT keeps, and matrix and normalizer of every layer (fp32)."""
        numbers = self.features * (model.width + 1) * model.layers
        return Rmt.state_bytes(self, model, tokens, dtype_bytes) + numbers * FP32_BYTES

    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        kept = positions * ((self.key_width + self.features + model.width) * dtype_bytes)
        return Rmt.kept_bytes(self, model, positions, dtype_bytes) + kept
