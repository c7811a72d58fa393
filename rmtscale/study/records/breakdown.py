"""Right answers by where the facts stood that they rest on, in numbers that stay small."""

from __future__ import annotations

from dataclasses import dataclass

TENTHS = 10
FACTS_AFTER = 6
"""Entries of ``facts_after``: none, one, two, three, four, more."""
SEGMENTS_SPANNED = 3
"""Entries of ``segments_spanned``: one, two, more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Samples and right answers, one entry a group."""

    samples: tuple[int, ...]
    correct: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.samples) != len(self.correct) or any(
            right > asked for asked, right in zip(self.samples, self.correct, strict=False)
        ):
            raise ValueError("groups: expected as many right answers as samples, or fewer, of each")

    @property
    def total(self) -> int:
        """Samples of all groups."""
        return sum(self.samples)

    def plus(self, other: Counted) -> Counted:
        """Adds up two countings group by group; either may have more groups."""
        size = max(len(self.samples), len(other.samples))

        def padded(counts: tuple[int, ...]) -> tuple[int, ...]:
            return counts + (0,) * (size - len(counts))

        return Counted(
            samples=_sums(padded(self.samples), padded(other.samples)),
            correct=_sums(padded(self.correct), padded(other.correct)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """One evaluation's samples, grouped in several ways.

    An answer of bAbI rests on one to three facts, which the files name; the last of them decides.
    """

    depth: Counted
    """Groups by where the deciding fact ends: tenths of the sample, the last first."""
    facts_after: Counted
    """Groups by the number of the story's facts after the deciding one, the last group open."""
    segments_after: Counted
    """Groups by the segments after the one that the deciding fact ends in: 0, 1, 2 to 3, 4 to 7 and
    so on. Only of samples in which no other fact of the story comes after it: nothing but noise was
    read since. No groups of a model that reads everything at once."""
    segments_after_facts: Counted
    """Equal groups of the other samples, in which later facts have to be kept too."""
    segments_spanned: Counted
    """Groups by the number of segments in which the facts end that the answer rests on, 1 to 3 or
    more. No groups of a model that reads everything at once."""


def _sums(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
