"""CoLT5: light attention for all tokens, heavy attention among a routed few.

Ainslie et al. 2023 (section 3.2): a quarter of the heads attends in a local window; the others
attend from s/16 routed queries to s/8 routed keys. Counted: both, their projections, the routing
scores. Left out: softmax, the choice of the routed tokens (a soft top-k), and its conditional
feed-forward, which could stand in every method here and so stays the backbone's. The shares (a
quarter, 1/16, 1/8) are its as we remember them; they are settings, not claims. FLOPs grow
**quadratically** with a small factor (s/16 x s/8 pairs of three quarters of the heads), and so do
activations. Longest input reported: 64K (abstract), taken as 65,536.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import block_pairs, output_bytes
from rmtscale.costs.methods.method import ENCODERS, Growth, Method, Reported, ceil_div
from rmtscale.costs.terms import Count, PassTerm, bmm, linear
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class CoLT5(Method):
    """Conditional attention."""

    name = "colt5"
    title = "CoLT5"
    source = "Ainslie et al. 2023"
    kinds = (ENCODERS,)
    pretrained = False
    growth = Growth("quadratic", "linear", "quadratic")
    reported = Reported(65_536, "Ainslie et al. 2023, abstract (64K)")

    radius: int = 127
    query_share: int = 16
    """One query in so many is routed to heavy attention."""
    key_share: int = 8

    def _branches(self, model: ModelSpec) -> tuple[int, int]:
        """Light and heavy width: a quarter of the heads, and the rest."""
        light = max(1, model.heads // 4)
        return light * model.head_width, max(1, model.heads - light) * model.head_width

    def _routed(self, tokens: Count) -> tuple[Count, Count]:
        return ceil_div(tokens, self.query_share), ceil_div(tokens, self.key_share)

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        light, heavy = self._branches(model)
        queries, keys = self._routed(tokens)
        routed, near = queries + keys, block_pairs(tokens, self.radius + 1, 2)
        width, layers = model.width, model.layers
        return (
            linear("route", tokens, width, 2, layers),
            linear("light_qkv", tokens, width, 3 * light, layers),
            bmm("light_logits", near * (light * layers), tokens * (2 * light * layers)),
            bmm("light_reduction", near * (light * layers), tokens * (2 * light * layers)),
            linear("light_output", tokens, light, width, layers),
            linear("heavy_query", queries, width, heavy, layers),
            linear("heavy_key_value", keys, width, 2 * heavy, layers),
            bmm("heavy_logits", queries * keys * (heavy * layers), routed * (heavy * layers)),
            bmm("heavy_reduction", queries * keys * (heavy * layers), routed * (heavy * layers)),
            linear("heavy_output", queries, heavy, width, layers),
        )

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        return output_bytes(model, tokens, dtype_bytes)

    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        light, heavy = self._branches(model)
        queries, keys = self._routed(positions)
        near = block_pairs(positions, self.radius + 1, 2) * (light // model.head_width)
        far = queries * keys * (heavy // model.head_width)
        rows = positions * (4 * light) + queries * (2 * heavy) + keys * (2 * heavy)
        return (rows + near + far) * dtype_bytes
