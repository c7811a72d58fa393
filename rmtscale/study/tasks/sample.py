"""A story as a task draws it, and the story written into noise as token ids."""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.study.tasks.vocabulary import Ids


@dataclass(frozen=True, slots=True)
class Story:
    """Facts and a question, as text."""

    facts: tuple[str, ...]
    question: str
    answer: str
    answering: int = 0
    """Index of the fact that gives the answer, or completes it."""


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
