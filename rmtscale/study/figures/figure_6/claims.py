"""Figure 6 of the paper: attention of a 4-segment sample. Measured.

The first validation sample with one fact in the first segment, none in the second, the other in
the third, and the question in the fourth; of a task with one fact none in the third either. Claims:
where a fact stands the memory that is written looks at it; where none stands it looks at the memory
that was read; the answer looks at memory. Looks: in the head that does so most, at least twice the
share of attention that an even look would give.

In a model from random initialisation that has learned nothing all keys get about the same in every
head. Pretrained weights look somewhere from the start, at memory most of all: of a model that was
trained with LoRA the odds that a head looks there also have to be twice those of the model before
any training, which read the same sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from rmtscale.report.claims import Claim, Outcome
from rmtscale.units import format_percent

SEGMENTS = 4
CLEARLY = 2.0
"""Times the even share, and the odds before training, from which on a head looks at something."""
ANSWER, FACT, MEMORY = "answer", "fact", "memory"


class Look(NamedTuple):
    """The share of their attention that some queries pay to some keys, in the head where it is
    largest."""

    segment: int
    """Index of the segment, from 0."""
    query: str
    key: str
    share: float
    even: float
    """Were all positions looked at alike."""
    before: float | None = None
    """The share before any training, of pretrained weights; None where it is not known."""


def check_claims(looks: Sequence[Look], subject: str = "") -> list[Claim]:
    """Checks the three things the figure shows.

    Args:
        looks: at facts and at memory, those of one query of a segment behind one another.
        subject: what stands before each claim, where several models are shown.
    """
    claims = []
    for (segment, query), group in groupby(looks, key=lambda look: look[:2]):
        found = {look.key == FACT: look for look in group}
        fact, memory = found.get(True), found.get(False)
        kept = fact is None and segment < SEGMENTS - 1
        shown = memory if query == ANSWER or kept else fact
        if shown is not None:
            what = shown.key if shown.key == MEMORY else f"the {shown.key}"
            text = f"{subject}segment {segment + 1}, {query} looks at {what}"
            claims.append(_more(text, shown))
    return claims


def _more(text: str, look: Look) -> Claim:
    sees = look.share >= CLEARLY * look.even
    ours = f"{format_percent(look.share)} of the attention, even: {format_percent(look.even)}"
    tolerance = "twice even"
    if look.before is not None:
        # Odds of shares that may be 1, without a division.
        now, then = look.share * (1 - look.before), look.before * (1 - look.share)
        sees = sees and now > 0 and now >= CLEARLY * then
        ours += f", before training: {format_percent(look.before)}"
        tolerance += " and twice the odds before training"
    outcome: Outcome = "pass" if sees else "fail"
    return Claim(text, "seen", ours, outcome, tolerance)
