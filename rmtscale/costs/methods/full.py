"""Full attention: every token sees every token, in one pass (Vaswani et al. 2017, equation 1).

Counted: query, key and value, both matmuls of the whole square (never halved for causality, as
everywhere here), output. Left out: softmax. FLOPs grow quadratically, the key-value cache
linearly, activations linearly (a fused kernel keeps no square). It has no longest input of its
own: what a model was trained on, or the machine, ends it. Of a model whose layers are not all plain
attention, whatever its layers have.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.conventions import matmul_terms
from rmtscale.costs.layered import cached_numbers, state_numbers
from rmtscale.costs.methods.matmuls import Attention
from rmtscale.costs.methods.method import DECODERS, ENCODERS, Growth
from rmtscale.costs.terms import MIXING_TERMS, Count, PassTerm
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Full(Attention):
    """Full attention."""

    name = "full"
    title = "full attention"
    source = "Vaswani et al. 2017"
    kinds = (DECODERS, ENCODERS)
    pretrained = True
    any_layers = True
    growth = Growth("quadratic", "linear", "linear")

    def growth_on(self, model: ModelSpec) -> Growth:
        """Tells a model of recurrences alone, of which nothing is quadratic, and no state grows."""
        if isinstance(model, LayeredSpec) and not model.windows:
            return Growth("linear", "constant", "linear")
        return Attention.growth_on(self, model)

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        if not isinstance(model, LayeredSpec):
            return Attention.mixing(self, model, tokens)
        terms = matmul_terms(model, tokens, tokens)
        return tuple(term for term in terms if term.name in MIXING_TERMS)

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        """Keys and values, of a window where there is one, and recurrent states."""
        if not isinstance(model, LayeredSpec) or not model.decoder:
            return Attention.state_bytes(self, model, tokens, dtype_bytes)
        numbers = cached_numbers(model, tokens) + state_numbers(model)
        return (0 * tokens + numbers) * dtype_bytes

    def pairs(self, model: ModelSpec, positions: Count) -> Count:
        del model
        return positions * positions
