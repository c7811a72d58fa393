"""Longformer: a window on both sides and a few global tokens (Beltagy et al. 2020, section 3.1).

Counted: what the released module multiplies. It cuts the band into overlapping chunks of the
window (one-sided width w): queries and keys meet in (s/w - 1) squares of 2w x 2w, probabilities
and values in s/w rectangles of w x 3w. Global tokens (one, [CLS]) have matrices of their own for
query, key and value, see all and are seen by all. Left out: softmax. FLOPs and activations grow
linearly. Longest input reported: 32,256 (section 4.2, character language models).
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import Attention, projections
from rmtscale.costs.methods.method import ENCODERS, Growth, Reported, ceil_div
from rmtscale.costs.terms import Count, FlopTerm, PassTerm, bmm, linear
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Longformer(Attention):
    """Window and global attention, in chunks."""

    name = "longformer"
    title = "Longformer"
    source = "Beltagy et al. 2020"
    kinds = (ENCODERS,)
    pretrained = True
    growth = Growth("linear", "linear", "linear")
    reported = Reported(32_256, "Beltagy et al. 2020, section 4.2")
    keeps_scores = True

    window: int = 512
    """Both sides together, as in the released config."""
    global_tokens: int = 1

    def positions(self, model: ModelSpec, tokens: Count) -> Count:
        del model
        return ceil_div(tokens, self.window) * self.window

    def pairs(self, model: ModelSpec, positions: Count) -> Count:
        """Probabilities the module forms: the band, and the global columns."""
        del model
        return positions * (self.window + 1 + self.global_tokens)

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        rows, side = self.positions(model, tokens), self.window // 2
        query, seen = model.query_width * model.layers, self.global_tokens
        elements = rows * (2 * query)
        terms = [
            *projections(model, rows),
            bmm(FlopTerm.LOGITS, (rows // side - 1) * (4 * side * side * query), elements),
            bmm(FlopTerm.REDUCTION, rows * (3 * side * query), elements),
        ]
        if seen:
            around = rows * (2 * seen * query)  # keys of all, and queries that see all
            bias = model.qkv_bias
            width, layers = model.width, model.layers
            terms += [
                linear("global_query", seen, width, model.query_width, layers, bias=bias),
                linear("global_key_value", rows, width, 2 * model.kv_width, layers, bias=bias),
                bmm("global_logits", around, elements),
                bmm("global_reduction", around, elements),
            ]
        return tuple(terms)
