"""BigBird: window, global and random blocks (Zaheer et al. 2020, section 2).

Counted: what the released module multiplies, block by block: the first and the last block see
everything, the two beside them four blocks and the random ones, all others five (first, last,
three in a row) and the random ones. Up to 5 + 2r blocks the module falls back to full attention,
and so does this. Left out: softmax. FLOPs and activations grow linearly. Longest input reported:
4,096 (section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import Attention
from rmtscale.costs.methods.method import ENCODERS, Growth, Reported, ceil_div
from rmtscale.costs.terms import Count
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class BigBird(Attention):
    """Block-sparse attention."""

    name = "bigbird"
    title = "BigBird"
    source = "Zaheer et al. 2020"
    kinds = (ENCODERS,)
    pretrained = True
    growth = Growth("linear", "linear", "linear")
    reported = Reported(4_096, "Zaheer et al. 2020, section 4")
    keeps_scores = True

    block: int = 64
    random_blocks: int = 3

    def positions(self, model: ModelSpec, tokens: Count) -> Count:
        """Padded to whole blocks, unless attention is full."""
        del model
        padding = -tokens % self.block
        return tokens + padding * (tokens > self._full_until())

    def _full_until(self) -> int:
        return (5 + 2 * self.random_blocks) * self.block

    def pairs(self, model: ModelSpec, positions: Count) -> Count:
        del model
        blocks, square = ceil_div(positions, self.block), self.block**2
        edges = 2 * blocks + 2 * (4 + self.random_blocks)
        sparse = (edges + (blocks - 4) * (5 + self.random_blocks)) * square
        full = positions <= self._full_until()
        return sparse + (positions * positions - sparse) * full
