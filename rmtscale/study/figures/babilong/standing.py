"""At how many points of the table ours is ahead of a published system, level with it or behind, and
the answer in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rmtscale.study.figures.babilong.published import ROUNDED, SHORT, average, published
from rmtscale.study.figures.babilong.runs import DEAD_BAND, PLAIN, Run, mean_accuracies
from rmtscale.study.records.babilong import BabilongRecord
from rmtscale.units import Share, format_score

Side = Literal["ahead", "level", "behind"]


def side_of(record: BabilongRecord, theirs: Share) -> Side:
    """Tells on which side of a published accuracy the 95 % interval lies; around it is level.

    What was published is anything that rounds to it, on both sides alike.
    """
    if record.high < theirs - ROUNDED:
        return "behind"
    return "ahead" if record.low > theirs + ROUNDED else "level"


@dataclass(frozen=True, slots=True)
class Standing:
    """Counts of points, of all that a published system has."""

    ahead: int
    level: int
    behind: int
    missing: int
    """Points that no run of ours has read yet."""

    @property
    def points(self) -> int:
        """All points of the published system."""
        return self.ahead + self.level + self.behind + self.missing

    @property
    def read(self) -> int:
        """Points that both have."""
        return self.points - self.missing

    def __str__(self) -> str:
        return (
            f"ahead at {self.ahead}, level at {self.level}, behind at {self.behind}, missing "
            f"{self.missing}"
        )


def standing(best: Mapping[str, Run], system: str) -> Standing:
    """Counts where the run of each task stands beside a published system.

    Args:
        best: a run by task.
        system: of ``SYSTEMS``.
    """
    sides: list[Side] = []
    points = 0
    for task, theirs in published()[system].items():
        points += len(theirs)
        curve = best[task].curve if task in best else {}
        sides += [side_of(curve[name], share) for name, share in theirs.items() if name in curve]
    return Standing(
        sides.count("ahead"), sides.count("level"), sides.count("behind"), points - len(sides)
    )


def answer(best: Mapping[str, Mapping[str, Run]]) -> str:
    """Counts the points beside the published RMT, as the claims do.

    Args:
        best: a run by task, of each variant.
    """
    plain, held = (standing(best[variant], "rmt") for variant in (PLAIN, DEAD_BAND))
    if not plain.read:
        return "No run at the lengths of the published RMT yet"
    text = (
        f"Beside the published RMT, ours is ahead at {plain.ahead} of {plain.read} points, level "
        f"at {plain.level} and behind at {plain.behind}"
    )
    if not held.read:
        return text
    return (
        f"{text}; with a dead band on the memory ahead at {held.ahead}, level at {held.level} and "
        f"behind at {held.behind}"
    )


def averages_in_words(best: Mapping[str, Mapping[str, Run]]) -> str:
    """Says what the five tasks average to at the longest length that ours has of all of them.

    Args:
        best: a run by task, of each variant.

    Returns:
        A sentence without its full stop; nothing where a task has no run.
    """
    plain, held = (mean_accuracies(best[variant]) for variant in (PLAIN, DEAD_BAND))
    if not plain:
        return ""
    length = list(plain)[-1]
    band = f" ({format_score(held[length])} % with the band)" if length in held else ""
    theirs = "".join(
        f", the published {SHORT[name]} {format_score(shares[length])} %"
        for name in ("rmt", "armt")
        if length in (shares := average(published()[name]))
    )
    return (
        f"At {length} the five tasks average {format_score(plain[length])} % right answers{band}"
        f"{theirs}"
    )
