"""Parts of a layer: all that one multiplies and keeps, for closed forms to be summed over.

A mixer (attention, or a recurrence) and a feed-forward each say the same things of themselves:
parameters, FLOPs, cache. All of it integers.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol


class Matrix(NamedTuple):
    """Equal matrices that a token is multiplied with."""

    name: str
    """The cost term: ``qkv``, ``dense_up``."""
    inner: int
    outer: int
    bias: bool = False
    copies: int = 1
    """How many there are: one, or one for each expert."""
    active: int = 1
    """How many of them a token passes through."""
    rows: Literal["tokens", "encoder", "once", "never"] = "tokens"
    """The rows it multiplies: every token, every token of the encoder, one vector a sample, or
    nothing."""
    called: str | None = None
    """The aten operator that multiplies it, where it is not what a linear layer usually is."""
    turned: bool = False
    """Its input has channels first: torch multiplies it as a batch, or folds it where a gradient
    is wanted."""
    multiplied: int = 0
    """How many a token is multiplied with in the released module, if more than ``active``."""
    tied: bool = False
    """Its weights are those of another, and are counted there; a bias is its own."""
    roles: tuple[tuple[str, int], ...] = ()
    """Parts that it consists of in one layer of the released model, each with its outputs:
    ``(("gate", 14336), ("up", 14336))``. ``rows/modules`` has the module's name for each."""

    @property
    def operator(self) -> str:
        """The aten operator that multiplies it."""
        if self.turned:
            return "bmm"
        return self.called or ("addmm" if self.bias else "mm")

    @property
    def trained_operator(self) -> str:
        """Names the operator where a gradient is wanted."""
        return "mm" if self.turned else self.operator

    @property
    def multiply_adds(self) -> int:
        """Counts the multiply-adds of one row."""
        if self.rows == "never":
            return 0
        return (self.multiplied or self.active) * self.inner * self.outer

    @property
    def weights(self) -> int:
        return self.copies * (self.inner * (not self.tied) + self.bias) * self.outer

    @property
    def active_weights(self) -> int:
        return self.active * (self.inner * (not self.tied) + self.bias) * self.outer


class Square(NamedTuple):
    """A product of every token with every token."""

    name: str
    multiply_adds: int
    """Per pair of tokens, all heads."""
    elements: int
    """Numbers of queries, keys or values that it reads and writes, per token."""
    numbers: int
    """Numbers of the square that an unfused module writes or reads for it, per pair of tokens."""
    over: Literal["tokens", "encoder"] = "tokens"
    """Whose keys: the same tokens', or the encoder's."""
    operator: str = "bmm"


class Irregular(NamedTuple):
    """A product that is no polynomial of the length: a padded convolution, a chunked scan."""

    name: str
    multiply_adds: int
    operator: str = "bmm"
    backward: int | None = None
    """Multiply-adds of its backward pass; None is twice as many, one for each operand."""

    @property
    def backward_multiply_adds(self) -> int:
        return 2 * self.multiply_adds if self.backward is None else self.backward


class Part(Protocol):
    """A mixer or a feed-forward: what closed forms are summed over."""

    def matrices(self, width: int) -> tuple[Matrix, ...]:
        """The matrices of one layer of a model of this width."""

    def vectors(self, width: int) -> int:
        """Parameters that are in no matrix and are no bias of one: norms, sinks, filters."""

    def squares(self) -> tuple[Square, ...]:
        """Products of all tokens with all tokens."""

    def irregular(self, width: int, tokens: int) -> tuple[Irregular, ...]:
        """Products that grow in another way."""

    def cached(self, tokens: int) -> int:
        """Numbers of keys and values kept of so many tokens."""

    def state(self) -> int:
        """Numbers kept whatever the length."""

    def scanned(self) -> int:
        """Numbers of a token that a scan makes besides what matrices give, at most."""


class Stateless:
    """A part that keeps nothing, multiplies no squares and nothing irregular."""

    __slots__ = ()

    def squares(self) -> tuple[Square, ...]:
        return ()

    def irregular(self, width: int, tokens: int) -> tuple[Irregular, ...]:
        del width, tokens
        return ()

    def cached(self, tokens: int) -> int:
        del tokens
        return 0

    def state(self) -> int:
        return 0

    def scanned(self) -> int:
        return 0
