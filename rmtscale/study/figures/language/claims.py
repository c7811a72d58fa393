"""How a claim on losses is checked: paired differences of every seed, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rmtscale.report.claims import Claim, Outcome
from rmtscale.study.records.clusters import Interval
from rmtscale.units import format_difference

MOST_SHOWN = 3


class Contrast(NamedTuple):
    """A difference of two losses on the same tokens, in bits per byte."""

    where: str
    """Seed, and what else tells it from the others."""
    seed: int
    interval: Interval

    def words(self) -> str:
        """Writes ``seed 0: -0.0521 (-0.0603 to -0.0439)``."""
        loss = self.interval
        return f"{self.where}: {format_difference(loss.mean, loss.low, loss.high)}"


def contrast(where: str, seed: int, interval: Interval | None) -> list[Contrast]:
    """Returns one contrast, or none where the two did not score the same tokens."""
    return [] if interval is None else [Contrast(where, seed, interval)]


def lower(text: str, paper: str, contrasts: Iterable[Contrast], aside: str = "") -> Claim:
    """Claims that each difference lies below zero with its whole interval.

    Args:
        text: what is claimed.
        paper: its number.
        contrasts: of every seed.
        aside: more of ours to say.
    """
    return _judged(text, paper, list(contrasts), aside, strict=True)


def no_higher(text: str, paper: str, contrasts: Iterable[Contrast], aside: str = "") -> Claim:
    """Claims that no difference lies above zero with its whole interval."""
    return _judged(text, paper, list(contrasts), aside, strict=False)


def _judged(
    text: str, paper: str, contrasts: Sequence[Contrast], aside: str, *, strict: bool
) -> Claim:
    if not contrasts:
        return Claim(text, paper, "not evaluated on the same tokens", "not measurable")
    if not all(math.isfinite(gap.interval.low) for gap in contrasts):
        return Claim(text, paper, "one document only: no interval", "not measurable")
    holds = all(gap.interval.high < 0 if strict else gap.interval.low <= 0 for gap in contrasts)
    seeds = len({gap.seed for gap in contrasts})
    outcome: Outcome = "pass" if holds else "fail"
    return Claim(
        text,
        paper,
        f"{shown(contrasts)}{f'; {aside}' if aside else ''}",
        outcome,
        f"95 % interval, {'each of ' if seeds > 1 else ''}{seeds} seed{'s' if seeds > 1 else ''}",
    )


def shown(contrasts: Sequence[Contrast]) -> str:
    """Lists all of few, of many the lowest and the highest, in bits per byte."""
    if len(contrasts) <= MOST_SHOWN:
        return "; ".join(gap.words() for gap in contrasts)
    ordered = sorted(contrasts, key=lambda gap: gap.interval.mean)
    return f"of {len(contrasts)} from {ordered[0].words()} to {ordered[-1].words()}"
