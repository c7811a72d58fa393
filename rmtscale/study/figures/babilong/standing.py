"""At how many points of the table ours is ahead of a published system, level with it or behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rmtscale.study.figures.babilong.published import ROUNDED, published
from rmtscale.study.figures.babilong.runs import Run
from rmtscale.study.records.babilong import BabilongRecord

Side = Literal["ahead", "level", "behind"]


def side_of(record: BabilongRecord, theirs: float) -> Side:
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
