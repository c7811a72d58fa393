"""A question of a bAbI story, with all that was told before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from rmtscale.study.tasks.sample import Between, Closing, Story


@dataclass(frozen=True, slots=True)
class Asked:
    """One question. Those of one story share its facts."""

    story: tuple[str, ...]
    """All facts of the story, in their order."""
    told: int
    """Number of facts before the question: none of the later ones belongs to it."""
    question: str
    answer: str
    answering: int
    """Index of the last fact that the answer rests on."""
    between: tuple[Between, ...] = ()
    """Questions among all facts of the story, in their order."""
    supporting: tuple[int, ...] = ()
    """Indices of all facts that the answer rests on, where the original files name them."""
    closing: tuple[Closing, ...] = ()
    """All other questions that have an answer after these facts, in no order."""
    rare: tuple[Closing, ...] = ()
    """Questions that stories of the task seldom come to, and that have an answer after these facts;
    its own may be one, and some may be in ``closing``."""

    @property
    def facts(self) -> tuple[str, ...]:
        """The facts before the question."""
        return self.story[: self.told]

    def as_story(self, between: bool = False, closing: Sequence[Closing] = ()) -> Story:
        """Returns it as tasks draw stories, with the questions among its facts or without, and with
        some of those that may come before its own."""
        earlier: tuple[Between, ...] = ()
        if between:
            own = (self.told, self.question)
            earlier = tuple(one for one in self.between if one.told <= self.told and one[:2] != own)
        own_answer = self.answer, self.answering
        return Story(self.facts, self.question, *own_answer, earlier, tuple(closing))


def facts_digest(facts: tuple[str, ...]) -> int:
    """Returns the first 32 bits of the SHA-256 of some facts in their order."""
    return int.from_bytes(sha256("\n".join(facts).encode()).digest()[:4], "big")


def prefix_digests(facts: tuple[str, ...]) -> list[int]:
    """Returns the digest of the first fact, of the first two, and so on."""
    told, found = sha256(), list[int]()
    for fact in facts:
        told.update(f"\n{fact}".encode() if found else fact.encode())
        found.append(int.from_bytes(told.digest()[:4], "big"))
    return found
