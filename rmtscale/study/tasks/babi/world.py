"""The world that bAbI stories tell of: persons who move, get, drop and give.

How often what is done was measured in the original files: a person, and what the person does, are
drawn alike; what cannot be done is drawn again. A move goes to any of the six places, and cannot
be where the person is already; whoever gets or drops takes any object that is there, or held. A
gift is made whenever any can be (qa2 and qa3: moves to gets by one of n able persons are 4 to
1.2 n; qa5: moves to gifts 4 to 4.8, however many could give).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rmtscale.study.tasks.babi.grammar import OBJECTS
from rmtscale.study.tasks.task import PLACES

Pick = Callable[[int], int]
"""Draws a whole number below another."""


class Act(NamedTuple):
    """Something that was done."""

    kind: str
    """``move``, ``get``, ``drop`` or ``give``."""
    person: str
    thing: str = ""
    """Object of all but moves."""
    target: str = ""
    """Place of a move, receiver of a gift."""


class World:
    """Persons and objects in places.

    Args:
        pick: source of chance.
        persons: whoever acts.
        kinds: what they can do.
    """

    def __init__(self, pick: Pick, persons: Sequence[str], kinds: Sequence[str]) -> None:
        self._pick, self._persons, self._kinds = pick, persons, kinds
        self._place = {one: PLACES[pick(len(PLACES))] for one in (*persons, *OBJECTS)}
        self._holder: dict[str, str] = {}

    def act(self) -> Act:
        """Lets somebody do something."""
        while True:
            kind = self._kinds[self._pick(len(self._kinds))]
            person = self._persons[self._pick(len(self._persons))]
            act = getattr(self, f"_{kind}")(person)
            if act is not None:
                return act  # type: ignore[no-any-return]

    def _move(self, person: str) -> Act | None:
        place = PLACES[self._pick(len(PLACES))]
        if place == self._place[person]:
            return None
        self._place[person] = place
        return Act("move", person, target=place)

    def _get(self, person: str) -> Act | None:
        here = [
            thing
            for thing in OBJECTS
            if thing not in self._holder and self._place[thing] == self._place[person]
        ]
        if not here:
            return None
        thing = here[self._pick(len(here))]
        self._holder[thing] = person
        return Act("get", person, thing)

    def _drop(self, person: str) -> Act | None:
        held = [thing for thing in OBJECTS if self._holder.get(thing) == person]
        if not held:
            return None
        thing = held[self._pick(len(held))]
        del self._holder[thing]
        self._place[thing] = self._place[person]
        return Act("drop", person, thing)

    def _give(self, person: str) -> Act | None:
        del person
        possible = [
            (giver, thing, other)
            for thing, giver in self._holder.items()
            for other in self._persons
            if other != giver and self._place[other] == self._place[giver]
        ]
        if not possible:
            return None
        giver, thing, receiver = possible[self._pick(len(possible))]
        self._holder[thing] = receiver
        return Act("give", giver, thing, receiver)
