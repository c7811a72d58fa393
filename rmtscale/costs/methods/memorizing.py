"""Memorizing Transformer: one layer also looks up k nearest keys in a large store.

Wu et al. 2022 (section 3): every layer attends to its segment and the one before (a Transformer-XL
cache, 512); one layer also retrieves, for each query, the k = 32 nearest of the last M keys and
attends to them, mixed in by a gate. Counted: all of it, the search as an exact one (every query
with every stored key, which the authors approximate on their hardware). Left out: softmax, top-k,
gate. FLOPs grow quadratically up to M tokens and linearly from there on; so the store: linearly up
to M, then not at all. No gradient enters the store, so activations are constant. Longest store
reported: 262K (abstract), taken as 262,144.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import attend, band_pairs, block_pairs, cache_bytes, projections
from rmtscale.costs.methods.method import Growth, Method, Reported, ceil_div, smaller
from rmtscale.costs.terms import Count, PassTerm, bmm
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Memorizing(Method):
    """Blocks with a cache, and a store of keys and values in one layer."""

    name = "memorizing"
    title = "Memorizing Transformer"
    source = "Wu et al. 2022"
    pretrained = True
    growth = Growth("linear", "constant", "constant")
    reported = Reported(262_144, "Wu et al. 2022, abstract (262K)")

    segment: int = 512
    neighbours: int = 32
    store: int = 262_144

    def at_once(self, model: ModelSpec, tokens: Count, *, train: bool) -> Count:
        del model, train
        return smaller(tokens, self.segment)

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        near = block_pairs(tokens, self.segment, 1)
        searched = band_pairs(tokens, self.store)
        read = ceil_div(tokens, self.segment) * smaller(tokens, self.store) * model.kv_width
        return (
            *projections(model, tokens),
            *attend(model, near, tokens),
            bmm("search", searched * model.query_width, tokens * model.query_width + read),
            *attend(model, tokens * self.neighbours, tokens * self.neighbours, 1, "found_"),
        )

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        """Keys and values of the open segment and the one before, and the store of one layer."""
        stored = smaller(tokens, self.store) * (2 * model.kv_width * dtype_bytes)
        return cache_bytes(model, smaller(tokens, 2 * self.segment), dtype_bytes) + stored

    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        """Counts a layer without the store."""
        rows = positions * (2 * model.query_width + 2 * model.kv_width)
        return (rows + block_pairs(positions, self.segment, 1) * model.heads) * dtype_bytes
