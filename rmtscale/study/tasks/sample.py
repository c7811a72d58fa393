"""A story as a task draws it, and the story written into noise as token ids."""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.study.tasks.vocabulary import Ids


@dataclass(frozen=True, slots=True)
class Story:
    """Facts and a question, as text. The first fact is the one that gives the answer."""

    facts: tuple[str, ...]
    question: str
    answer: str


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
    """Facts as text. The first one gives the answer."""
    question: str
    """Question as text."""
