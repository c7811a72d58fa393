"""A cost as named terms that sum to the total."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rmtscale.tabular import Printed, to_frame
from rmtscale.units import format_tokens

if TYPE_CHECKING:
    import pandas as pd


class Term(NamedTuple):
    """One named part of a cost."""

    phase: str
    """``forward``, ``backward``, ``recompute``; for memory ``persistent`` or ``transient``."""
    name: str
    amount: int
    """FLOPs or bytes."""
    operator: str | None = None
    """The aten operator that does it (``addmm``, ``mm``, ``bmm``), where that is exact."""


@dataclass(frozen=True, slots=True)
class Breakdown(Printed):
    """Terms of one cost; integers, and nothing but the terms is in the total."""

    terms: tuple[Term, ...]

    @property
    def total(self) -> int:
        return sum(term.amount for term in self.terms)

    def by_name(self) -> dict[str, int]:
        """``{"forward.qkv": 123, ...}`` in the order of the computation."""
        amounts: dict[str, int] = {}
        for term in self.terms:
            key = f"{term.phase}.{term.name}"
            amounts[key] = amounts.get(key, 0) + term.amount
        return amounts

    def shown(self, amount: int) -> str:
        """Returns an amount as it is printed."""
        return format_tokens(amount)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Returns the terms and their sum, as text."""
        rows = [[name, self.shown(amount)] for name, amount in self.by_name().items()]
        return ["term", "amount"], [*rows, ["sum", self.shown(self.total)]]

    def by_operator(self) -> dict[str, int]:
        """``{"addmm": 123, ...}``: what a FLOP counter has to find; operators of 0 left out."""
        amounts: dict[str, int] = {}
        for term in self.terms:
            if term.operator is not None and term.amount:
                amounts[term.operator] = amounts.get(term.operator, 0) + term.amount
        return amounts

    def to_frame(self) -> pd.DataFrame:
        """Returns the terms as a frame: columns ``phase``, ``name``, ``amount``, ``operator``."""
        return to_frame(term._asdict() for term in self.terms)
