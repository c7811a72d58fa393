"""Table 1 of the paper: a frozen backbone, what was added to it, memory or none. Measured.

Claims, in order and not in value (the paper's number without memory is that of an untrained
model): with memory the loss is lower than without, and with two segments lower than with one.
Beyond the paper: memory is lower than none with true text in the place of the memory tokens, so
that both read as much at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill

from rmtscale.report.claims import Claim
from rmtscale.study.figures.language.claims import Contrast, contrast, lower
from rmtscale.study.figures.language.groups import difference
from rmtscale.study.figures.language.page import (
    LANGUAGE_MODELING,
    page,
    running,
    write_page,
)
from rmtscale.study.figures.table_1.table import (
    UNTOUCHED,
    Adapted,
    adaptation_rows,
    adaptation_table,
    adaptations,
)
from rmtscale.study.records.language import LanguageRecord
from rmtscale.tabular import csv_text

NAME = "table-1"
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


def write(folder: Path, records: Sequence[LanguageRecord], *, force: bool = False) -> list[Claim]:
    """Everything that is made of the records; the claims, checked."""
    found = adaptations(records)
    claims = check_claims(records)
    title = "Table 1: parameter-efficient training, with memory and without"
    readme = page(NAME, title, records, claims, _body(found, claims))
    table = csv_text(adaptation_rows(found))
    write_page(folder, NAME, {}, records, readme, force=force, table=table)
    return claims


run = running(NAME, LANGUAGE_MODELING, write)


def check_claims(records: Sequence[LanguageRecord]) -> list[Claim]:
    """All orders for each way of adapting, held against the records."""
    found = adaptations(records)
    claims = []
    for method in dict.fromkeys(one.method for one in found):
        if method == UNTOUCHED:
            continue
        rows = [one for one in found if one.method == method]
        with_memory = [one for one in rows if one.segments]
        more = [one for one in with_memory if one.segments > 1]
        alone = [one for one in rows if not one.segments and not one.context_tokens]
        filled = [one for one in rows if not one.segments and one.context_tokens]
        first = [one for one in with_memory if one.segments == 1]
        for claim, paper, some, others in (
            (LOWER, _papers(method, 0, 1), with_memory, alone),
            (SECOND, _papers(method, 1, 2), more, first),
            (FILLED, "not in the paper", with_memory, filled),
        ):
            found_less = [less for other in others for less in _less(some, other)]
            claims.append(lower(f"{method}: {claim}", paper, found_less))
    return claims


def _less(some: Sequence[Adapted], other: Adapted) -> Iterator[Contrast]:
    """Each of ``some`` less ``other``, by seed."""
    for one in some:
        for seed, record in one.records.items():
            if seed in other.records:
                where = f"seed {seed}, {one.segments} against {other.segments or 'no memory'}"
                yield from contrast(where, seed, difference(record, other.records[seed]))


def _papers(method: str, first: int, second: int) -> str:
    """Perplexities of the paper, where it has both."""
    known = [PAPER.get((method, segments)) for segments in (first, second)]
    return "not shown" if None in known else f"perplexity {known[0]:.2f} to {known[1]:.2f}"


def answer(claims: Sequence[Claim]) -> str:
    """How many ways of adapting keep the orders."""
    said = []
    for words, end in (
        ("memory lowers the loss", LOWER),
        ("a second segment lowers the loss", SECOND),
        ("memory beats as long an input without", FILLED),
    ):
        told = [one for one in claims if one.text.endswith(end) and one.outcome != "not measurable"]
        if told:
            kept = sum(one.outcome == "pass" for one in told)
            said.append(f"{words} in {kept} of {len(told)} ways of adapting")
    text = ", ".join(said) or "no way of adapting was evaluated with memory and without"
    return f"{text[0].upper()}{text[1:]}"


def _body(found: Sequence[Adapted], claims: Sequence[Claim]) -> str:
    return f"""{fill(f"**{answer(claims)}.**", 100)}

{adaptation_table(found).markdown()}

A backbone that was trained on prose is adapted to another text, its own weights frozen. Losses are
means over seeds, their intervals those of documents; peak memory and time are those of training.
Times are of the training as it ran; comparable only where trainings ran one at a time on a GPU (no
more `--jobs` than GPUs). The text before the scored tokens is read in the same pass without memory,
and in a segment of its own with two segments. With one segment there is nothing to remember yet,
and the memory tokens are a trained prompt."""
