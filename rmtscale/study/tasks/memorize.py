"""Memorize: where somebody went is said first, and asked for last (bAbI task 1, one move).

"Mary went back to the hallway." ... "Where is Mary?" -> hallway. The sentences are those of
Weston et al. 2015, task 1. A story of one person has 120 facts in all, far too few to keep some
for validation: the facts of the two splits are the same, their noise is not. In the paper's form
there is one person, so the name says nothing; with more, the others' moves have to be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rmtscale.errors import BadInput
from rmtscale.study.tasks.sample import Story
from rmtscale.study.tasks.task import PLACES, Task, pick

# fmt: off
NAMES = (
    "Mary", "John", "Daniel", "Sandra", "Alice", "Bruno", "Clara", "David", "Emma", "Felix",
    "Grace", "Henry", "Irene", "Jacob", "Karen", "Leon", "Martha", "Nora", "Oscar", "Paula",
    "Quentin", "Rosa", "Simon", "Teresa", "Ursula", "Victor", "Wendy", "Xavier", "Yvonne",
    "Zachary", "Anna", "Boris", "Cecilia", "Dennis", "Edith", "Frank", "Gloria", "Hugo", "Isabel",
    "Julian", "Kate", "Lucas", "Monica", "Nathan", "Olivia", "Peter", "Rachel", "Samuel", "Tina",
    "Ulrich", "Vera", "Walter", "Agnes", "Benjamin", "Claudia", "Dominic", "Elena", "Fiona",
    "George", "Helen", "Ivan", "Julia", "Kevin", "Laura",
)
# fmt: on
"""The first four are bAbI's; stories of up to four persons use no others."""
ACTIONS = ("moved", "went", "went back", "journeyed", "travelled")


@dataclass(frozen=True, kw_only=True)
class Memorize(Task):
    """Asks where a person is.

    Raises:
        BadInput: a number of persons or of distractors that cannot be.
    """

    name: ClassVar[str] = "memorize"

    placement: str = "start"
    """The fact first, as in the paper."""
    persons: int = 1
    """Persons a story tells of; one of them is asked for, and has one fact."""
    distractors: int | None = None
    """Facts about the other persons, at least one for each; by default exactly that."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _whole(self.persons) or not 1 <= self.persons <= len(NAMES):
            raise BadInput(f"persons {self.persons!r}: expected 1 to {len(NAMES)}")
        others = self.persons - 1
        if self.distractors is not None and (
            not _whole(self.distractors)
            or self.distractors < others
            or (not others and self.distractors)
        ):
            accepted = f"{others} or more" if others else "0, there is nobody else"
            raise BadInput(
                f"distractors {self.distractors!r} with persons {self.persons}: expected {accepted}"
            )

    @property
    def facts_per_story(self) -> int:
        return 1 + (self.persons - 1 if self.distractors is None else self.distractors)

    @property
    def names(self) -> tuple[str, ...]:
        """Whom stories tell of."""
        return NAMES[: max(4, self.persons)]

    def all_facts(self) -> tuple[str, ...]:
        return tuple(
            fact(name, action, place)
            for name in self.names
            for action in ACTIONS
            for place in PLACES
        )

    def all_questions(self) -> tuple[str, ...]:
        return tuple(question(name) for name in self.names)

    def story(self, rng: np.random.Generator) -> Story:
        asked, *others = (
            rng.permutation(len(self.names))[: self.persons].tolist()
            if self.persons > 1
            else [pick(rng, len(self.names))]
        )
        extra = self.facts_per_story - self.persons
        told = [asked, *others, *(others[pick(rng, len(others))] for _ in range(extra))]
        moves = [(pick(rng, len(ACTIONS)), pick(rng, len(PLACES))) for _ in told]
        facts = (
            fact(self.names[who], ACTIONS[action], PLACES[place])
            for who, (action, place) in zip(told, moves, strict=True)
        )
        return Story(tuple(facts), question(self.names[asked]), PLACES[moves[0][1]])


def fact(name: str, action: str, place: str) -> str:
    """``Mary went back to the hallway.``"""
    return f"{name} {action} to the {place}."


def question(name: str) -> str:
    """``Where is Mary?``"""
    return f"Where is {name}?"


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
