"""RWKV: a decayed sum of past keys and values for each channel (Peng et al. 2023, equations 11-18).

Version 4, the one Transformers has: receptance, key, value and output matrices of d x d, a mix
with the token before, and the recurrence wkv in its numerically safe form. Counted: the matrices,
and as ``scan`` the 9 multiplications and additions a channel of the token mix and the 17 of the
recurrence. Left out: exponentials, sigmoid, and its channel mix, in whose place the backbone's
feed-forward stays. FLOPs and activations grow linearly, the state (three fp32 numbers a channel
and the last token) is constant. Longest input reported: 8,192 (section 5, fine-tuned).
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.method import FP32_BYTES, Growth, Method, Reported
from rmtscale.costs.terms import Count, FlopTerm, PassTerm, linear
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Rwkv(Method):
    """Time mixing of RWKV-4."""

    name = "rwkv"
    title = "RWKV-4"
    source = "Peng et al. 2023"
    pretrained = False
    growth = Growth("linear", "constant", "linear")
    reported = Reported(8_192, "Peng et al. 2023, section 5")

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        width, layers = model.width, model.layers
        return (
            linear("receptance_key_value", tokens, width, width, 3 * layers),
            PassTerm("scan", tokens * (26 * width * layers), None, tokens * (4 * width * layers)),
            linear(FlopTerm.OUTPUT, tokens, width, width, layers),
        )

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        return 0 * tokens + (3 * FP32_BYTES + dtype_bytes) * model.width * model.layers

    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        """Three mixed inputs, receptance, key, value, wkv and its product with receptance."""
        return positions * (8 * model.width * dtype_bytes)
