"""RMT: segments one after another, m memory tokens handed on (Bulatov et al. 2022, section 3).

Counted: every segment at its true size, memory tokens included, as ``costs.flops`` counts it.
Left out: softmax. FLOPs grow linearly; the state is the memory and, while a segment is open, its
key-value cache, so it is constant; a training step through all segments keeps linearly many
activations. Longest input reported: 2,043,904 tokens (Bulatov et al. 2024, Figure 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rmtscale.costs.layered import cached_numbers, layered_terms, state_numbers
from rmtscale.costs.methods.matmuls import Attention, cache_bytes
from rmtscale.costs.methods.method import DECODERS, ENCODERS, Growth, Reported, ceil_div, smaller
from rmtscale.costs.terms import MIXING_TERMS, Count, PassTerm
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence


@dataclass(frozen=True, slots=True)
class Rmt(Attention):
    """The Recurrent Memory Transformer."""

    name = "rmt"
    title = "RMT"
    source = "Bulatov et al. 2022"
    kinds: ClassVar[tuple[str, ...]] = (DECODERS, ENCODERS)
    pretrained = True
    any_layers = True
    growth = Growth("linear", "constant", "linear")
    reported = Reported(2_043_904, "Bulatov et al. 2024, Figure 5")

    segment_size: int = 512
    memory_tokens: int = 10

    def refusal(self, model: ModelSpec) -> str | None:
        """Says why an RMT cannot be put around a model; None if it can."""
        if isinstance(model, LayeredSpec) and model.encoder_groups:
            return f"{model.name} reads with an encoder of its own, which no RMT is put around"
        return Attention.refusal(self, model)

    @property
    def recurrence(self) -> Recurrence:
        return Recurrence(self.segment_size, self.memory_tokens)

    def growth_on(self, model: ModelSpec) -> Growth:
        """Counts the memory alone, which is all that is kept, of an encoder too."""
        del model
        return self.growth

    def overhead(self, model: ModelSpec) -> int:
        """Positions of a segment that are not text."""
        return self.recurrence.overhead(model)

    def segment_tokens(self, model: ModelSpec) -> int:
        """Text of a full segment."""
        return self.recurrence.segment_tokens(model)

    def positions(self, model: ModelSpec, tokens: Count) -> Count:
        return tokens + ceil_div(tokens, self.segment_tokens(model)) * self.overhead(model)

    def at_once(self, model: ModelSpec, tokens: Count, *, train: bool) -> Count:
        if train:
            return self.positions(model, tokens)
        return smaller(tokens, self.segment_tokens(model)) + self.overhead(model)

    def pairs(self, model: ModelSpec, positions: Count) -> Count:
        text, overhead = self.segment_tokens(model), self.overhead(model)
        full, rest = positions // text, positions % text
        return full * self.segment_size**2 + (rest + overhead) * (rest + overhead) * (rest > 0)

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        if not isinstance(model, LayeredSpec):
            return Attention.mixing(self, model, tokens)
        return tuple(term for term in self._passes(model, tokens) if term.name in MIXING_TERMS)

    def outside(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        if not isinstance(model, LayeredSpec):
            return Attention.outside(self, model, tokens)
        return tuple(term for term in self._passes(model, tokens) if term.name not in MIXING_TERMS)

    def _passes(self, model: LayeredSpec, tokens: Count) -> list[PassTerm]:
        """Whatever the layers are: full segments, and the one that is shorter."""
        text, overhead = self.segment_tokens(model), self.overhead(model)
        full, rest = tokens // text, tokens % text
        terms = []
        for one, last in zip(
            layered_terms(model, self.segment_size, text),
            layered_terms(model, rest + overhead, rest),
            strict=True,
        ):
            # What is done once a sample stands behind the last segment.
            times, more = (1, 0 * rest) if one.once else (full, rest > 0)
            terms.append(
                one._replace(
                    flops=times * one.flops + more * last.flops,
                    elements=times * one.elements + more * last.elements,
                    square=times * one.square + more * last.square,
                )
            )
        return terms

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        memory = self.memory_tokens * model.embedding_width * dtype_bytes
        if not model.decoder:
            return memory + 0 * tokens
        opened = smaller(tokens, self.segment_tokens(model)) + self.overhead(model)
        if isinstance(model, LayeredSpec):
            numbers = cached_numbers(model, opened) + state_numbers(model)
            return memory + (0 * tokens + numbers) * dtype_bytes
        return memory + cache_bytes(model, opened, dtype_bytes)
