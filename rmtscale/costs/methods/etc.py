"""ETC: long tokens see a neighbourhood, a few global tokens see everything.

Ainslie et al. 2020 (section 3.2, Figure 2): four pieces, global to global (g x g), global to long
(g x s), long to global (s x g) and long to long (s x (2r + 1)). Counted: these pieces, a band
where the last one stands, projections and feed-forward of the global tokens too. Left out: softmax,
the relative-position labels. The defaults (230 global tokens, radius 84) are those of its base
model as we remember them; they are settings, not claims. FLOPs and activations grow linearly. The
longest input its paper reports is left out: we are not sure of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import Attention, band_pairs
from rmtscale.costs.methods.method import ENCODERS, Growth
from rmtscale.costs.terms import Count
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Etc(Attention):
    """Global-local attention."""

    name = "etc"
    title = "ETC"
    source = "Ainslie et al. 2020"
    kinds = (ENCODERS,)
    pretrained = True
    growth = Growth("linear", "linear", "linear")
    keeps_scores = True

    global_tokens: int = 230
    radius: int = 84

    def positions(self, model: ModelSpec, tokens: Count) -> Count:
        del model
        return tokens + self.global_tokens

    def pairs(self, model: ModelSpec, positions: Count) -> Count:
        del model
        seen = self.global_tokens
        return band_pairs(positions, 2 * self.radius + 1) + positions * (2 * seen) + seen * seen
