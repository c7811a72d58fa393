"""Reasoning: two facts about three places in a line, one question (bAbI task 4).

"The hallway is east of the bathroom. The bedroom is west of the bathroom. What is the bathroom
east of?" -> bedroom. Sentences and stories are those of Weston et al. 2015, task 4: three places
in a row, west to east or south to north, the two neighbours told in either direction, and asked
is always for the place that its fact begins with. The ``direct`` question repeats the fact
("What is west of the bathroom?"), the ``inverse`` one turns it round ("What is the bathroom east
of?").

The rows are what is split: 120 orders of three places on two axes, a tenth of the 240 for
validation, each with its four pairs of facts. So no pair of facts is on both sides, neither in
these words nor in others. (The code of Bulatov et al. 2024 trains and validates on the same
stories, which are the test file of bAbI, most of which stand in its training file too.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import permutations
from typing import ClassVar

import numpy as np

from rmtscale.errors import BadInput
from rmtscale.study.tasks.sample import Story
from rmtscale.study.tasks.task import PLACES, Task, pick
from rmtscale.units import require_one_of

OPPOSITE = {"west": "east", "east": "west", "south": "north", "north": "south"}
AXES = ("west", "south")
"""A row runs from the first place on: each is west (or south) of the next one."""
FORMS = ("direct", "inverse", "both")
VALIDATION_ROWS = 24
_SEED = "rmtscale reasoning rows"

Row = tuple[str, str, str, str]
"""Axis and three places: ``("west", "bedroom", "bathroom", "hallway")``."""


def all_rows() -> list[Row]:
    """Lists the 240 rows in the fixed random order whose first ones are for validation.

    Ordered by a digest, which stays the same in every version of Python and numpy.
    """
    rows = [(axis, *places) for axis in AXES for places in permutations(PLACES, 3)]
    return sorted(rows, key=lambda row: sha256(" ".join((_SEED, *row)).encode()).digest())


@dataclass(frozen=True, kw_only=True)
class Reasoning(Task):
    """Asks which of three places lies where.

    Raises:
        BadInput: an unknown form, or more distractors than the other places allow.
    """

    name: ClassVar[str] = "reasoning"
    subject_words: ClassVar[int] = 2

    form: str = "both"
    """Form of the question: ``direct``, ``inverse`` or ``both``."""
    distractors: int = 0
    """Facts (0 to 2) about the three other places, on different axes: no row of either split."""

    contrast: bool = False
    """Only stories whose two facts name the same reference, the place in the middle: nothing but
    the direction tells them apart. Of all stories they are a quarter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("form", self.form, FORMS)
        if type(self.distractors) is not int or not 0 <= self.distractors <= 2:
            raise BadInput(f"distractors {self.distractors!r}: expected 0, 1 or 2")

    @property
    def facts_per_story(self) -> int:
        return 2 + self.distractors

    @cached_property
    def rows(self) -> list[Row]:
        """Rows of the split."""
        rows = all_rows()
        validation = self.split == "validation"
        return rows[:VALIDATION_ROWS] if validation else rows[VALIDATION_ROWS:]

    def all_facts(self) -> tuple[str, ...]:
        return tuple(fact(a, way, b) for a, b in permutations(PLACES, 2) for way in OPPOSITE)

    def all_questions(self) -> tuple[str, ...]:
        forms = FORMS[:2] if self.form == "both" else (self.form,)
        return tuple(
            question(form, way, place) for form in forms for way in OPPOSITE for place in PLACES
        )

    def contrasts(self) -> Reasoning:
        return replace(self, form="direct", contrast=True)

    def story(self, rng: np.random.Generator) -> Story:
        axis, *places = self.rows[pick(rng, len(self.rows))]
        told = [_told(rng, axis, *pair) for pair in (places[:2], places[1:])]
        if self.contrast:
            first, middle, last = places
            told = [(first, axis, middle), (last, OPPOSITE[axis], middle)]
        asked, other = told if pick(rng, 2) else told[::-1]
        form = self.form if self.form != "both" else FORMS[pick(rng, 2)]
        facts = [fact(*asked), fact(*other)]
        if self.distractors:
            facts += self._distractors(rng, [place for place in PLACES if place not in places])
        answer, way, reference = asked
        return Story(tuple(facts), question(form, way, reference), answer)

    def _distractors(self, rng: np.random.Generator, places: Sequence[str]) -> list[str]:
        first, middle, last = (places[index] for index in rng.permutation(3))
        axes = AXES if pick(rng, 2) else AXES[::-1]
        pairs = zip(axes, ((first, middle), (middle, last)), strict=True)
        told = [_told(rng, axis, *pair) for axis, pair in pairs]
        return [fact(*first) for first in told[: self.distractors]]


def _told(rng: np.random.Generator, axis: str, first: str, second: str) -> tuple[str, str, str]:
    """``first`` is ``axis`` of ``second``, said in one of the two ways, in either order."""
    if pick(rng, 2):
        first, second = second, first
        axis = OPPOSITE[axis]
    return first, axis, second


def fact(place: str, way: str, reference: str) -> str:
    """``The bedroom is west of the bathroom.``"""
    return f"The {place} is {way} of the {reference}."


def question(form: str, way: str, reference: str) -> str:
    """Asks what is ``way`` of the reference, directly or turned round."""
    if form == "direct":
        return f"What is {way} of the {reference}?"
    return f"What is the {reference} {OPPOSITE[way]} of?"
