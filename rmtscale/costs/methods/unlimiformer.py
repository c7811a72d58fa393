"""Unlimiformer: overlapping chunks are encoded, and a decoder searches the store of their outputs.

Bertsch et al. 2023 (section 2): an encoder reads windows of its own length that overlap by half,
keeps the middle half of each, and stores the hidden states once for all heads and layers of the
decoder, which fetches the nearest. Counted: reading, that is full attention in every window, about
2 s positions. Left out: the search, which a decoder pays with every token it writes, and softmax.
FLOPs and the store grow linearly; activations too. Longest input reported: 500K (abstract).
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import Attention
from rmtscale.costs.methods.method import ENCODERS, Growth, Reported, ceil_div, larger
from rmtscale.costs.terms import Count
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Unlimiformer(Attention):
    """Full attention in overlapping windows."""

    name = "unlimiformer"
    title = "Unlimiformer (reading)"
    source = "Bertsch et al. 2023"
    kinds = (ENCODERS,)
    pretrained = True
    growth = Growth("linear", "linear", "linear")
    reported = Reported(500_000, "Bertsch et al. 2023, abstract (500k)")

    window: int = 1024
    """BART's, as in the paper."""

    def windows(self, tokens: Count) -> Count:
        """Windows behind the first, each half a window further on."""
        return ceil_div(larger(tokens - self.window, 0), self.window // 2)

    def positions(self, model: ModelSpec, tokens: Count) -> Count:
        del model
        first = tokens + (self.window - tokens) * (tokens > self.window)
        return first + self.windows(tokens) * self.window

    def pairs(self, model: ModelSpec, positions: Count) -> Count:
        del model
        first = positions + (self.window - positions) * (positions > self.window)
        return first * first + self.windows(positions) * self.window**2
