"""LongT5: a local window and one transient global token for every 16 (Guo et al. 2022, section 3).

Counted: what the released module multiplies (section 3.1.2, TGlobal): blocks of r + 1 tokens see
three blocks and all s/16 global tokens, which every layer makes anew by summing 16 tokens (the
module sums by a product with a one-hot matrix) and projects to keys and values. Left out: softmax,
position biases. FLOPs and activations grow **quadratically**, if 16 times more slowly than full
attention's: its paper says O(l (r + l/k)). Longest input reported: 16,384 (section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import Attention, attend, block_pairs, projections
from rmtscale.costs.methods.method import ENCODERS, Growth, Reported, ceil_div
from rmtscale.costs.terms import Count, PassTerm, bmm, linear
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class LongT5(Attention):
    """Local and transient-global attention."""

    name = "longt5"
    title = "LongT5 (TGlobal)"
    source = "Guo et al. 2022"
    kinds = (ENCODERS,)
    pretrained = False
    growth = Growth("quadratic", "linear", "quadratic")
    reported = Reported(16_384, "Guo et al. 2022, section 4")
    keeps_scores = True

    radius: int = 127
    global_block: int = 16

    def pairs(self, model: ModelSpec, positions: Count) -> Count:
        del model
        block = self.radius + 1
        padded = ceil_div(positions, block) * block
        return block_pairs(positions, block, 2) + padded * (positions // self.global_block)

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        summed, layers = tokens // self.global_block, model.layers
        width, kv, bias = model.width, 2 * model.kv_width, model.qkv_bias
        side = linear("global_key_value", summed, width, kv, layers, bias=bias)
        return (
            bmm("aggregate", tokens * summed * (width * layers), tokens * (width * layers)),
            *projections(model, tokens),
            side._replace(weights=0),  # the local keys' and values' own matrices
            *attend(model, self.pairs(model, tokens), tokens),
        )
