"""Figure 6 of the paper: attention of a 4-segment reasoning sample. Measured.

The first validation sample with one fact in the first segment, none in the second, the other in
the third, and the question in the fourth. Claims: where a fact stands the memory that is written
looks at it; where none stands it looks at the memory that was read; the answer looks at memory.
Looks: in the head that does so most, at least twice the share of attention that an even look would
give. (In a model that has learned nothing all keys get about the same in every head.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rmtscale.report.claims import Claim, Outcome
from rmtscale.units import format_percent

SEGMENTS = 4
CLEARLY = 2.0
"""Times the even share from which on a head looks at something."""


class Share(NamedTuple):
    """A share of the attention, and what it would be were all positions looked at alike."""

    measured: float
    even: float


@dataclass(frozen=True, slots=True)
class Looks:
    """The attention of one kind of query, in the head that pays it most."""

    segment: int
    query: str
    at_fact: Share | None
    at_memory: Share


def check_claims(looks: Sequence[Looks]) -> list[Claim]:
    """Checks the three things the figure shows."""
    claims = []
    for look in looks:
        where = f"segment {look.segment + 1}, {look.query}"
        if look.query == "answer" or (look.at_fact is None and look.segment < SEGMENTS - 1):
            claims.append(_more(f"{where} looks at the memory read", look.at_memory))
        elif look.at_fact is not None:
            claims.append(_more(f"{where} looks at the fact", look.at_fact))
    return claims


def _more(text: str, share: Share) -> Claim:
    outcome: Outcome = "pass" if share.measured >= CLEARLY * share.even else "fail"
    measured, even = (format_percent(value) for value in share)
    return Claim(text, "seen", f"{measured} of the attention, even: {even}", outcome, "twice even")
