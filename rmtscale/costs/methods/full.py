"""Full attention: every token sees every token, in one pass (Vaswani et al. 2017, equation 1).

Counted: query, key and value, both matmuls of the whole square (never halved for causality, as
everywhere here), output. Left out: softmax. FLOPs grow quadratically, the key-value cache
linearly, activations linearly (a fused kernel keeps no square). It has no longest input of its
own: what a model was trained on, or the machine, ends it.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import Attention
from rmtscale.costs.methods.method import DECODERS, ENCODERS, Growth
from rmtscale.costs.terms import Count
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Full(Attention):
    """Full attention."""

    name = "full"
    title = "full attention"
    source = "Vaswani et al. 2017"
    kinds = (DECODERS, ENCODERS)
    pretrained = True
    growth = Growth("quadratic", "linear", "linear")

    def pairs(self, model: ModelSpec, positions: Count) -> Count:
        del model
        return positions * positions
