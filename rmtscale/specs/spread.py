"""A measured constant and between which values it was found, and the range that it may lie in."""

from __future__ import annotations

from typing import NamedTuple

from rmtscale.errors import BadInput


class Spread(NamedTuple):
    """A constant, and between which values it was found."""

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, factor: float) -> Spread:
        """Returns a value that may be so many times less, or more."""
        return cls(value, value / factor, value * factor)


class Plausible(NamedTuple):
    """The range that a constant may lie in."""

    low: float
    high: float
    unit: str

    def require(self, name: str, spread: Spread) -> None:
        """Refuses a constant that no machine has, and one that is not between its own ends.

        Raises:
            BadInput: names the constant and what is accepted.
        """
        if not self.low <= spread.value <= self.high:
            raise BadInput(
                f"constant {name!r} {spread.value:.3g}: expected between {self.low:.3g} and "
                f"{self.high:.3g} {self.unit}".rstrip()
            )
        if not 0 < spread.low <= spread.value <= spread.high:
            raise BadInput(
                f"constant {name!r} {spread.value:.3g}: expected between its ends "
                f"{spread.low:.3g} and {spread.high:.3g}"
            )
