"""Claims of a paper, our numbers beside them, and whether the two agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rmtscale.tabular import markdown_table

Outcome = Literal["pass", "fail", "not measurable"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim, checked."""

    text: str
    """The claim, in a few words."""
    paper: str
    """The paper's number."""
    ours: str
    """Our number beside it."""
    outcome: Outcome
    tolerance: str = ""
    """How near the two had to be."""


def within(text: str, paper: float, ours: float, tolerance: float, digits: str = ",.2f") -> Claim:
    """Returns a claim about one number that holds if it is within a relative tolerance."""
    outcome: Outcome = "pass" if abs(ours - paper) <= tolerance * abs(paper) else "fail"
    return Claim(
        text, format(paper, digits), format(ours, digits), outcome, f"{tolerance:.1g} relative"
    )


def claims_table(claims: list[Claim]) -> str:
    """Returns the claims as a Markdown table."""
    columns = ("claim", "paper", "ours", "tolerance", "outcome")
    return markdown_table(
        columns,
        [(claim.text, claim.paper, claim.ours, claim.tolerance, claim.outcome) for claim in claims],
    )
