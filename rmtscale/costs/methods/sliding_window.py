"""Sliding window: every token sees the last ``window`` tokens of the layer below.

Jiang et al. 2023 (Mistral, section 2: window 4,096, a rolling buffer of keys and values); the
same pattern as Longformer's (Beltagy et al. 2020, section 3.1), here causal. Counted: what a
banded kernel multiplies, ``window`` keys a query. Transformers' eager Mistral multiplies the whole
square and masks it, so it is held against this token by token, through its rolling cache. Left
out: softmax. FLOPs and activations grow linearly, the cache is constant from one window on.
Longest input reported: 8,192 (Table 1); the authors put its *theoretical* reach, layer over layer,
at 131K.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import Attention, band_pairs
from rmtscale.costs.methods.method import DECODERS, ENCODERS, Growth, Reported, smaller
from rmtscale.costs.terms import Count
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class SlidingWindow(Attention):
    """A band of the attention square, with a rolling cache."""

    name = "sliding-window"
    title = "sliding window (Mistral)"
    source = "Jiang et al. 2023"
    kinds = (DECODERS, ENCODERS)
    pretrained = True
    growth = Growth("linear", "constant", "linear")
    reported = Reported(8_192, "Jiang et al. 2023, Table 1")

    window: int = 4096

    def pairs(self, model: ModelSpec, positions: Count) -> Count:
        del model
        return band_pairs(positions, self.window)

    def cached_tokens(self, tokens: Count) -> Count:
        return smaller(tokens, self.window)
