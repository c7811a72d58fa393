"""Table 1 of the paper: a frozen backbone, what was added to it, memory or none. Measured.

Claims, in order and not in value (the paper's number without memory is that of an untrained
model): with memory the loss is lower than without, and with two segments lower than with one.
Beyond the paper: memory is lower than none with true text in the place of the memory tokens, so
that both read as much at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rmtscale.report.claims import Claim
from rmtscale.study.figures.language.claims import Contrast, contrast, lower
from rmtscale.study.figures.language.groups import difference
from rmtscale.study.figures.table_1.table import UNTOUCHED, Adapted, adaptations
from rmtscale.study.records.language import LanguageRecord

LOWER = "memory is lower than none"
FILLED = "memory is lower than none in an input as long"
SECOND = "two segments are lower than one"
PAPER = {
    ("parallel adapter", 0): 41.43,
    ("parallel adapter", 1): 10.31,
    ("parallel adapter + LoRA", 1): 7.30,
    ("parallel adapter + LoRA", 2): 6.97,
}
"""Perplexity by what was trained and segments."""


def check_claims(records: Sequence[LanguageRecord]) -> list[Claim]:
    """Checks all orders for each way of adapting against the records."""
    rows = adaptations(records)
    claims = []
    for method in dict.fromkeys(row.method for row in rows):
        if method == UNTOUCHED:
            continue
        alike = [row for row in rows if row.method == method]
        with_memory = [row for row in alike if row.segments]
        more = [row for row in with_memory if row.segments > 1]
        alone = [row for row in alike if not row.segments and not row.context_tokens]
        filled = [row for row in alike if not row.segments and row.context_tokens]
        first = [row for row in with_memory if row.segments == 1]
        for claim, paper, some, others in (
            (LOWER, _papers(method, 0, 1), with_memory, alone),
            (SECOND, _papers(method, 1, 2), more, first),
            (FILLED, "not in the paper", with_memory, filled),
        ):
            contrasts = [gap for other in others for gap in _less(some, other)]
            claims.append(lower(f"{method}: {claim}", paper, contrasts))
    return claims


def _less(some: Sequence[Adapted], other: Adapted) -> Iterator[Contrast]:
    """Yields each of ``some`` less ``other``, by seed."""
    for row in some:
        for seed, record in row.records.items():
            if seed in other.records:
                where = f"seed {seed}, {row.segments} against {other.segments or 'no memory'}"
                yield from contrast(where, seed, difference(record, other.records[seed]))


def _papers(method: str, first: int, second: int) -> str:
    """Writes the perplexities of the paper, where it has both."""
    known = [PAPER.get((method, segments)) for segments in (first, second)]
    return "not shown" if None in known else f"perplexity {known[0]:.2f} to {known[1]:.2f}"


def answer(claims: Sequence[Claim]) -> str:
    """Says how many ways of adapting are in the claimed orders."""
    counts = []
    for words, end in (
        ("memory lowers the loss", LOWER),
        ("a second segment lowers the loss", SECOND),
        ("memory beats as long an input without", FILLED),
    ):
        outcomes = [claim.outcome for claim in claims if claim.text.endswith(end)]
        passed, failed = outcomes.count("pass"), outcomes.count("fail")
        if passed + failed:
            counts.append(f"{words} in {passed} of {passed + failed} ways of adapting")
    text = ", ".join(counts) or "no way of adapting was evaluated with memory and without"
    return f"{text[0].upper()}{text[1:]}"
