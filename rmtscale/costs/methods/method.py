"""The interface that all methods for long inputs share.

A method exchanges the sequence mixing of a backbone (in a transformer: query, key and value,
attention, output) and nothing else. Width, depth, vocabulary, feed-forward, norms and head stay,
so that designs are compared and not sizes.

Every formula is written with ``+ - * // %`` and comparisons only, so it takes an ``int`` or a
numpy array of Python integers (``dtype=object``) alike. Python integers do not overflow, which
64-bit ones do: full attention of 2 M tokens through OPT-175B is 2e22 FLOPs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from rmtscale.costs.conventions import outer_terms
from rmtscale.costs.terms import Count, PassTerm
from rmtscale.errors import BadInput
from rmtscale.specs.layered import plain_attention
from rmtscale.specs.model import ModelSpec

DECODERS, ENCODERS = "decoder", "encoder"
FP32_BYTES = 4


class Growth(NamedTuple):
    """How costs grow in the length of the input, in words; the tests fit the exponents."""

    flops: str
    state: str
    activations: str


class Reported(NamedTuple):
    """The longest input that the method's own paper reports a result for."""

    tokens: int
    source: str


@dataclass(frozen=True, slots=True)
class Method(ABC):
    """One way to a long input. Subclasses are frozen dataclasses; their fields are settings."""

    name: ClassVar[str]
    """How the user calls it: ``sliding-window``."""
    title: ClassVar[str]
    source: ClassVar[str]
    """Key of the paper in ``rmtscale.references``."""
    kinds: ClassVar[tuple[str, ...]] = (DECODERS,)
    """The backbones that can have it: ``decoder`` (causal), ``encoder``, or both."""
    pretrained: ClassVar[bool]
    """Whether weights of a pretrained transformer can be taken over."""
    any_layers: ClassVar[bool] = False
    """Its cost is a sum over whatever layers a backbone has; else they have to be plain
    attention."""
    growth: ClassVar[Growth]
    reported: ClassVar[Reported | None] = None
    """None where the paper reports no such length, or where we are not sure of it."""

    def positions(self, model: ModelSpec, tokens: Count) -> Count:
        """Positions that the feed-forward blocks see; memory and global tokens included."""
        del model
        return tokens

    def at_once(self, model: ModelSpec, tokens: Count, *, train: bool) -> Count:
        """Positions whose activations are alive together."""
        del train
        return self.positions(model, tokens)

    @abstractmethod
    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        """The sequence mixing of one sequence, all layers."""

    @abstractmethod
    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        """Counts what is kept of one sequence, all layers, to read or to write one more token.

        Of an encoder, which reads everything at once: its output, for a head or a decoder.
        """

    @abstractmethod
    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        """Counts what the mixing of one layer keeps for a backward pass over the positions."""

    def growth_on(self, model: ModelSpec) -> Growth:
        """How costs grow on this backbone."""
        del model
        return self.growth

    def outside(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        """Returns what every method has: feed-forward, head, embedding projection (``matmul``)."""
        return outer_terms(model, self.positions(model, tokens), tokens)

    def terms(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        """A whole forward pass of one sequence, in the terms of the conventions."""
        return (*self.mixing(model, tokens), *self.outside(model, tokens))

    def weights(self, model: ModelSpec) -> int:
        """Numbers in the matrices of the mixing, all layers; biases and vectors left out."""
        return sum(term.weights for term in self.mixing(model, 1))

    def require_backbone(self, model: ModelSpec) -> None:
        """Refuses a backbone that cannot have this method.

        Raises:
            BadInput: names the kind of backbone that can, or the methods that this one can have.
        """
        reason = self.refusal(model)
        if reason is not None:
            raise BadInput(f"method {self.name!r}: {reason}")

    def refusal(self, model: ModelSpec) -> str | None:
        """Says why a backbone cannot have this method; None if it can."""
        kind = kind_of(model)
        if kind not in self.kinds:
            return (
                f"{model.name} is {_an(kind)}, expected {_an(self.kinds[0])} such as "
                f"{_EXAMPLES[self.kinds[0]]}"
            )
        if not (self.any_layers or plain_attention(model)):
            return (
                f"the layers of {model.name} are not all one plain attention that it could stand "
                "in for, expected full, rmt or sliding-window"
            )
        return None


_EXAMPLES = {DECODERS: "gpt2 or opt-1.3b", ENCODERS: "bert-base-cased"}


def kind_of(model: ModelSpec) -> str:
    """``decoder`` or ``encoder``."""
    return DECODERS if model.decoder else ENCODERS


def _an(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def smaller(first: Count, second: Count) -> Count:
    """The smaller of two counts."""
    return second + (first - second) * (first < second)


def larger(first: Count, second: Count) -> Count:
    """The larger of two counts."""
    return first + (second - first) * (first < second)


def ceil_div(count: Count, size: int) -> Count:
    """Blocks of ``size`` that hold ``count``."""
    return -(-count // size)


def ceil_log2(count: Count) -> Count:
    """The smallest power of two, as its exponent, that holds ``count``."""
    if isinstance(count, int):
        return (count - 1).bit_length()
    import numpy as np

    return np.frompyfunc(ceil_log2, 1, 1)(count)
