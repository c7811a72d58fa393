"""A question of a bAbI story, with all that was told before it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from rmtscale.study.tasks.sample import Story


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

    @property
    def facts(self) -> tuple[str, ...]:
        """The facts before the question."""
        return self.story[: self.told]

    def as_story(self) -> Story:
        """Returns it as tasks draw stories."""
        return Story(self.facts, self.question, self.answer, self.answering)


def facts_digest(facts: tuple[str, ...]) -> int:
    """Returns the first 32 bits of the SHA-256 of some facts in their order."""
    return int.from_bytes(sha256("\n".join(facts).encode()).digest()[:4], "big")
