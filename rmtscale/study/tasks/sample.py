"""A story as a task draws it, and the story written into noise as token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from rmtscale.study.tasks.vocabulary import Ids


class Between(NamedTuple):
    """A question among the facts of a story, which a training may ask too."""

    told: int
    """Number of facts before it."""
    question: str
    answer: str


class Closing(NamedTuple):
    """A question after all facts of a story, which a training may ask before the last one."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Story:
    """Facts and a question, as text."""

    facts: tuple[str, ...]
    question: str
    answer: str
    answering: int = 0
    """Index of the fact that gives the answer, or completes it."""
    between: tuple[Between, ...] = ()
    """Questions that are asked among the facts, in their order."""
    closing: tuple[Closing, ...] = ()
    """Questions that are asked one after the other before the last one, in their order."""

    @property
    def earlier(self) -> tuple[str, ...]:
        """Answers of all questions but the last, in their order."""
        return (*(one.answer for one in self.between), *(one.answer for one in self.closing))


@dataclass(frozen=True, slots=True)
class Sample:
    """A story in noise."""

    ids: Ids
    """Exactly as many tokens as were asked for; the question is last."""
    answer: int
    """Index into the task's ``classes``."""
    fact_positions: tuple[int, ...]
    """Position of the first token of each fact, in the order of ``facts`` (not ascending)."""
    facts: tuple[str, ...]
    """Facts as text."""
    question: str
    """Question as text."""
