"""Groups an evaluation's samples by where the facts stood that their answers rest on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rmtscale.study.records.breakdown import (
    FACTS_AFTER,
    SEGMENTS_SPANNED,
    TENTHS,
    Breakdown,
    Counted,
)
from rmtscale.study.tasks.babi.asked import Asked


@dataclass(frozen=True, slots=True)
class Answered:
    """One sample of an evaluation, and whether it was answered rightly."""

    asked: Asked
    fact_ends: Sequence[int]
    """Columns of the last token of each fact that was told, in their order."""
    tokens: int
    """Tokens of the sample."""
    right: bool

    @property
    def facts_after(self) -> int:
        """Facts of the story after the last one that the answer rests on."""
        return self.asked.told - 1 - self.asked.answering

    def depth(self) -> int:
        """Returns the tenth of the sample, from its end, in which the deciding fact ends."""
        after = self.tokens - 1 - self.fact_ends[self.asked.answering]
        return TENTHS * after // self.tokens

    def segments_after(self, segment_tokens: int) -> int:
        """Counts the segments after the one in which the deciding fact ends."""
        return self._from_the_end(self.asked.answering, segment_tokens)

    def segments_spanned(self, segment_tokens: int) -> int:
        """Counts the segments in which the facts end that the answer rests on."""
        facts = self.asked.supporting or (self.asked.answering,)
        return len({self._from_the_end(fact, segment_tokens) for fact in facts})

    def _from_the_end(self, fact: int, segment_tokens: int) -> int:
        # Segments are right-aligned: the last column of the sample is the last of a full one.
        return (self.tokens - 1 - self.fact_ends[fact]) // segment_tokens


def break_down(answered: Sequence[Answered], segment_tokens: int | None) -> Breakdown:
    """Counts samples and right answers in every group.

    Args:
        answered: all samples.
        segment_tokens: text tokens of a full segment; None of a model that reads everything at
            once.
    """

    def after(disturbed: bool) -> Counted:
        if segment_tokens is None:
            return _counted((), 0)
        return _counted(
            (
                (one.segments_after(segment_tokens).bit_length(), one.right)
                for one in answered
                if bool(one.facts_after) == disturbed
            ),
            1,
        )

    spanned = _counted((), 0)
    if segment_tokens is not None:
        spanned = _counted(
            (
                (min(one.segments_spanned(segment_tokens), SEGMENTS_SPANNED) - 1, one.right)
                for one in answered
            ),
            SEGMENTS_SPANNED,
        )
    return Breakdown(
        depth=_counted(((one.depth(), one.right) for one in answered), TENTHS),
        facts_after=_counted(
            ((min(one.facts_after, FACTS_AFTER - 1), one.right) for one in answered), FACTS_AFTER
        ),
        segments_after=after(disturbed=False),
        segments_after_facts=after(disturbed=True),
        segments_spanned=spanned,
    )


def _counted(groups: Iterable[tuple[int, bool]], least: int) -> Counted:
    """Counts by the number of the group, in at least so many of them."""
    samples, correct = [0] * least, [0] * least
    for group, right in groups:
        missing = group + 1 - len(samples)
        samples += [0] * missing
        correct += [0] * missing
        samples[group] += 1
        correct[group] += right
    return Counted(samples=tuple(samples), correct=tuple(correct))
