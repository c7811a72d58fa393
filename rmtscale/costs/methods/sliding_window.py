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

from rmtscale.costs.conventions import matmul_terms
from rmtscale.costs.layered import cached_numbers, state_numbers
from rmtscale.costs.methods.matmuls import Attention, band_pairs
from rmtscale.costs.methods.method import DECODERS, ENCODERS, Growth, Reported, smaller
from rmtscale.costs.terms import ATTENTION_TERMS, MIXING_TERMS, Count, PassTerm
from rmtscale.specs.layered import LayeredSpec, plain_attention
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class SlidingWindow(Attention):
    """A band of the attention square, with a rolling cache."""

    name = "sliding-window"
    title = "sliding window (Mistral)"
    source = "Jiang et al. 2023"
    kinds = (DECODERS, ENCODERS)
    pretrained = True
    any_layers = True
    growth = Growth("linear", "constant", "linear")
    reported = Reported(8_192, "Jiang et al. 2023, Table 1")

    window: int = 4096

    def pairs(self, model: ModelSpec, positions: Count) -> Count:
        del model
        return band_pairs(positions, self.window)

    def cached_tokens(self, tokens: Count) -> Count:
        return smaller(tokens, self.window)

    def refusal(self, model: ModelSpec) -> str | None:
        """Takes a model that is attention in part; behind an encoder there are two kinds of it."""
        if isinstance(model, LayeredSpec) and (model.encoder_groups or not model.windows):
            return (
                f"{model.name} has no attention of one kind that it could stand in for, expected "
                "full or rmt"
            )
        return Attention.refusal(self, model)

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        if plain_attention(model):
            return Attention.mixing(self, model, tokens)
        seen = smaller(tokens, self.window)
        return tuple(
            # The square of attention is a multiple of the length twice.
            term._replace(flops=term.flops // tokens * seen, square=term.square // tokens * seen)
            if term.name in ATTENTION_TERMS
            else term
            for term in matmul_terms(model, tokens, tokens)
            if term.name in MIXING_TERMS
        )

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        if not isinstance(model, LayeredSpec) or not model.decoder:
            return Attention.state_bytes(self, model, tokens, dtype_bytes)
        numbers = cached_numbers(model, self.cached_tokens(tokens)) + state_numbers(model)
        return (0 * tokens + numbers) * dtype_bytes
