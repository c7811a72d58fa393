"""Which recipe of a task a picture draws, by a rule that does not look at what was right.

A picture that draws every recipe of every task answers nothing at a glance. Of the recipes of one
task on one kind of backbone it draws the one that was read with the most seeds at the longest
input. A tie goes to more seeds at any length, then to a usual recipe, then to the one that the page
has first. All others stand in the page's tables and claims. Where readings are compared with plain
ones of the same weights, plain ones do not count: claims on seeds do not count them either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rmtscale.study.figures.memory_tasks.axes import Curve
from rmtscale.study.figures.memory_tasks.trainings import LATEST
from rmtscale.study.figures.memory_tasks.ways import USUAL, by_recipe_in_full, trained_part
from rmtscale.study.records.evaluation import EvaluationRecord


class Claimed(Protocol):
    """Says of a training under which keys of ``states_to_claim`` it counts."""

    @property
    def claimed(self) -> frozenset[str]:
        """Returns the keys."""


State = TypeVar("State", bound=Claimed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Holds what was read of one training."""

    name: str
    """Name of the training, such as ``seed 0``; no two of a task have the same."""
    curve: Curve
    plain: Curve | None = None
    """Plain readings of the same weights; None where it is not compared with any."""
    how: str = ""
    """Words on how the curve was read and plain was not, such as ``dead band 0.3``."""
    claimed: frozenset[str] = frozenset({""})
    """Keys of ``states_to_claim`` that it counts under."""

    @property
    def record(self) -> EvaluationRecord:
        """Returns the record of the shortest length, for what all have in common."""
        return next(iter(self.curve.values()))

    @property
    def seed(self) -> int:
        """Returns the seed of the training."""
        return self.record.trained_seed

    def compared(self) -> list[int]:
        """Lists the numbers of segments that it was read at, and plain too where there is one."""
        return [count for count in self.curve if self.plain is None or count in self.plain]

    def short_name(self, recipe: str) -> str:
        """Returns its name where a heading or a title has its recipe: ``seed 0, training 2``."""
        for words in (recipe, recipe.removeprefix(f"{trained_part(self.record)}, ")):
            if words and f", {words}" in self.name:
                return self.name.replace(f", {words}", "", 1)
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Holds the readings of one kind of backbone; of each task a picture draws one recipe."""

    kind: str
    """Name of the kind; empty where that was not noted."""
    readings: Mapping[str, Sequence[Reading]]
    """Readings by task."""

    def recipes(self, task: str) -> dict[str, list[Reading]]:
        """Groups the readings of a task by recipe, in words, usual ones first."""
        found = by_recipe_in_full(self.readings.get(task, ()), lambda reading: reading.record)
        return dict(sorted(found.items(), key=lambda recipe: recipe[0] not in USUAL))

    def drawn(self, task: str) -> tuple[str, list[Reading]]:
        """Returns the recipe of a task that a picture draws, in words, with its readings."""
        recipes = self.recipes(task)
        recipe = most_read(recipes)
        return recipe, recipes[recipe]

    def parts(self) -> list[Group]:
        """Splits it by what was trained: LoRA in a pretrained backbone, or all its weights."""
        found: dict[str, dict[str, list[Reading]]] = {}
        for task, own in self.readings.items():
            for reading in own:
                part = found.setdefault(trained_part(reading.record), {})
                part.setdefault(task, []).append(reading)
        return [
            Group(kind=self.kind, readings=own)
            for _, own in sorted(found.items(), key=lambda part: USUAL.index(part[0]))
        ]


def most_read(recipes: Mapping[str, Sequence[Reading]]) -> str:
    """Returns the recipe that was read with the most seeds at the longest input of any of them.

    Args:
        recipes: readings of one task on one kind of backbone, by recipe in words, one at least.
    """
    longest = max(count for own in recipes.values() for one in own for count in one.curve)

    def rank(recipe: str) -> tuple[int, int, bool]:
        own = recipes[recipe]
        there = {one.seed for one in own if longest in one.curve}
        return len(there), len({one.seed for one in own}), recipe in USUAL

    return max(recipes, key=rank)  # The first of equals.


def first(states: Iterable[State]) -> list[State]:
    """Keeps first states, of which claims on seeds are made (``trainings.py``)."""
    return [one for one in states if "" in one.claimed]


def latest(states: Iterable[State]) -> list[State]:
    """Keeps latest states, of which the same claims are made; nothing where no training went on."""
    every = list(states)
    if all("" in one.claimed and LATEST in one.claimed for one in every):
        return []
    return [one for one in every if LATEST in one.claimed]
