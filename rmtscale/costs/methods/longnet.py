"""LongNet: attention inside segments of growing size, ever more thinly dilated.

Ding et al. 2023 (equations 7 to 13): for each of several (w, r), the input is cut into segments of
w tokens of which every r-th attends to every r-th; the results are mixed by their softmax
denominators. Counted: both matmuls of each of the five settings of its language models
(section 4.1: w 2,048 to 32,768, r 1 to 12). Left out: softmax and the mixing. FLOPs and
activations grow linearly; the cache is that of the largest segment, so constant from there on.
Beyond it nothing is seen: for longer inputs the authors take larger settings. Longest input
reported: 32,768 with a perplexity (Table 2); its *run time* is shown up to a billion.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import Attention
from rmtscale.costs.methods.method import DECODERS, ENCODERS, Growth, Reported, ceil_div, smaller
from rmtscale.costs.terms import Count
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class LongNet(Attention):
    """Dilated attention."""

    name = "longnet"
    title = "LongNet (dilated)"
    source = "Ding et al. 2023"
    kinds = (DECODERS, ENCODERS)
    pretrained = False
    growth = Growth("linear", "constant", "linear")
    reported = Reported(32_768, "Ding et al. 2023, Table 2")

    segments: tuple[int, ...] = (2048, 4096, 8192, 16384, 32768)
    dilations: tuple[int, ...] = (1, 2, 4, 6, 12)

    def pairs(self, model: ModelSpec, positions: Count) -> Count:
        del model
        pairs = 0 * positions
        for size, dilation in zip(self.segments, self.dilations, strict=True):
            kept, rest = ceil_div(size, dilation), ceil_div(positions % size, dilation)
            pairs = pairs + positions // size * kept**2 + rest * rest
        return pairs

    def cached_tokens(self, tokens: Count) -> Count:
        return smaller(tokens, max(self.segments))

    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        """Each setting keeps its own sparse queries, keys, values and outputs."""
        thinned = sum(ceil_div(positions, dilation) for dilation in self.dilations)
        return super(LongNet, self).kept_bytes(model, thinned, dtype_bytes)
