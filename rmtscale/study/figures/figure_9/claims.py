"""Figure 9 of the paper: proofs after their lemmas, perplexity by segments read. Measured.

Claims: memory lowers the perplexity of all tokens and of the last segment; more than four segments
in training do not help; and, beyond the paper, the names of lemmas in a proof cost less where the
lemma itself was in the context than where another stood in its place, and memory makes more of it
than a model without, which can only use a lemma that stands in the segment of the proof.

All of a sample is scored, so more segments in training are more targets. The first two claims are
made for each number of segments in training by itself, against the model without memory that was
trained on the same number: a gain cannot come from more targets, and none is chosen. The paper has
one model without memory, trained on two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill

from rmtscale.report.claims import Claim
from rmtscale.report.style import render
from rmtscale.study.figures.figure_9.drawing import (
    LAST,
    NAMES,
    NAMES_WITHOUT,
    Prover,
    draw,
    provers,
    worth_part,
)
from rmtscale.study.figures.language.claims import Contrast, contrast, lower, no_higher, shown
from rmtscale.study.figures.language.groups import difference
from rmtscale.study.figures.language.page import LEMMA_PROOF, page, running, write_page
from rmtscale.study.figures.language.tables import proofs_table
from rmtscale.study.records.clusters import paired_difference
from rmtscale.study.records.language import ALL, LanguageRecord
from rmtscale.units import format_loss, format_percent

NAME = "figure-9"
ENOUGH = 4
"""Segments in training beyond which the paper gains nothing."""


def write(folder: Path, records: Sequence[LanguageRecord], *, force: bool = False) -> list[Claim]:
    """Everything that is made of the records; the claims, checked."""
    found = provers(records)
    claims = check_claims(records)
    said = answer(found)
    readme = page(NAME, "Figure 9: proofs after their lemmas", records, claims, _body(found, said))
    write_page(folder, NAME, {NAME: render(draw(found, said))}, records, readme, force=force)
    return claims


run = running(NAME, LEMMA_PROOF, write)


def check_claims(records: Sequence[LanguageRecord]) -> list[Claim]:
    """Every claim, held against the records."""
    found = provers(records)
    names = [
        one
        for prover in _longest(found)
        for seed, curve in prover.runs.items()
        for count, record in curve.items()
        if count > 1
        for one in contrast(
            f"seed {seed}, {count} segments",
            seed,
            difference(record, record, NAMES, NAMES_WITHOUT),
        )
    ]
    memory = [
        lower(
            f"{words}, trained on {prover.trained}: memory is lower than none",
            "yes",
            against(prover, found, part),
        )
        for words, part in (("all tokens", ALL), ("last segment", LAST))
        for prover in found
        if prover.memory
    ]
    return [
        *memory,
        no_higher(
            f"trained on more than {ENOUGH} segments: no better at the longest input",
            "yes",
            list(_beyond_enough(found)),
        ),
        lower("names: lower with their lemma in the context", "not in the paper", names),
        lower(
            "names: memory makes more of their lemma than none",
            "not in the paper",
            [one for prover in _longest(found) for one in less_made_of_lemmas(prover, found)],
        ),
    ]


def against(prover: Prover, found: Sequence[Prover], part: str) -> list[Contrast]:
    """One with memory less its like without, wherever both read two segments or more.

    Its like was trained on as many segments of as many tokens, and on as many tokens in all.
    """
    return [
        one
        for where, seed, record, plain in _pairs(prover, found)
        for one in contrast(where, seed, difference(record, plain, part))
    ]


def less_made_of_lemmas(prover: Prover, found: Sequence[Prover]) -> list[Contrast]:
    """What lemmas take off their names without memory, less what they take off with it."""
    contrasts = []
    for where, seed, record, plain in _pairs(prover, found):
        with_memory, without = worth_part(record), worth_part(plain)
        if with_memory and without and with_memory.tokens == without.tokens:
            contrasts += contrast(where, seed, paired_difference(without, with_memory))
    return contrasts


def _pairs(
    prover: Prover, found: Sequence[Prover]
) -> Iterator[tuple[str, int, LanguageRecord, LanguageRecord]]:
    """Where, seed, with memory, without: of trainings alike, from two segments on."""
    for other in found:
        if other.memory or other[1:3] != prover[1:3]:
            continue
        for seed, curve in prover.runs.items():
            plain = other.runs.get(seed, {})
            for count, record in curve.items():
                if count > 1 and count in plain and _as_much(record, plain[count]):
                    yield f"seed {seed}, {count} segments", seed, record, plain[count]


def against_one_pass(found: Sequence[Prover], part: str) -> list[Contrast]:
    """With memory, read as trained, less the model that read that text in one pass."""
    contrasts = []
    for prover in found:
        for other in found:
            text = prover.trained * prover.segment_tokens
            if not prover.memory or not other.one_pass or other.segment_tokens != text:
                continue
            for seed, curve in prover.runs.items():
                first, second = curve.get(prover.trained), other.runs.get(seed, {}).get(1)
                if first and second and _as_much(first, second):
                    contrasts += contrast(f"seed {seed}", seed, difference(first, second, part))
    return contrasts


def _as_much(first: LanguageRecord, second: LanguageRecord) -> bool:
    """Trained on as many tokens."""
    return first.model.trained_tokens == second.model.trained_tokens


def answer(found: Sequence[Prover]) -> str:
    """The title: what memory takes off the perplexity, and what a lemma is worth to its name."""
    said = []
    for prover in _longest(found):
        trained = f"Memory trained on {prover.trained} segments"
        changes = [one.interval for one in against(prover, found, ALL)]
        if changes:
            least, most = (1 - math.exp(of(one.mean for one in changes)) for of in (max, min))
            lower_everywhere = all(one.high < 0 for one in changes)
            said.append(
                f"{trained} lowers the perplexity of proofs by "
                f"{format_percent(least)} to {format_percent(most)}"
                if lower_everywhere
                else f"{trained} does not lower the perplexity of proofs at every length"
            )
        lemmas = [one.interval for one in less_made_of_lemmas(prover, found)]
        if lemmas:
            least, most = (-of(one.mean for one in lemmas) for of in (max, min))
            if all(one.high < 0 for one in lemmas):
                words = f"at least {format_loss(least)} nats more"
            else:
                words = f"at most {format_loss(most)} nats more" if most > 0 else "no more"
            said.append(f"to its name a lemma is worth {words} than without memory")
    return "; ".join(said) or "Perplexity of proofs by segments read"


def _longest(found: Sequence[Prover]) -> list[Prover]:
    """The longest training with memory, if there is one."""
    return sorted((one for one in found if one.memory), key=lambda one: one.trained)[-1:]


def _beyond_enough(found: Sequence[Prover]) -> Iterator[Contrast]:
    """Trained on four less trained on more, at the longest input of both."""
    enough = [one for one in found if one.memory and one.trained == ENOUGH]
    for few in enough:
        for many in found:
            if many.memory and many.trained > ENOUGH:
                for seed, curve in many.runs.items():
                    other = few.runs.get(seed, {})
                    shared = [count for count in curve if count in other]
                    if shared:
                        at = max(shared)
                        where = f"{ENOUGH} less {many.trained}, seed {seed}, {at} segments"
                        yield from contrast(where, seed, difference(other[at], curve[at]))


def _one_pass(found: Sequence[Prover]) -> str:
    """A paragraph on the price of cutting the text; nothing where no model read it uncut."""
    parts = (("all tokens", ALL), ("the last segment", LAST))
    said = [
        f"{words} {shown(contrasts)}"
        for words, part in parts
        if (contrasts := against_one_pass(found, part))
    ]
    if not said:
        return ""
    text = (
        "Memory, read at the segments of its training, less a model without memory that was "
        "trained on as many tokens and reads the same text in one pass (nats per token): "
        f"{'; '.join(said)}."
    )
    return f"{fill(text, 100)}\n\n"


def _body(found: Sequence[Prover], said: str) -> str:
    return f"""{fill(f"**{said}.**", 100)}

![Perplexity of proofs and losses on names against segments read](figure-9.png)

A sample is a theorem's statement, shuffled lemmas and its proof, cut in segments; irrelevant lemmas
fill the room, so more segments are more lemmas, not more of the proof. Above: perplexity of all
tokens and of the last segment, which has the proof in it. Below: the names of lemmas inside the
proof, with the lemma in the context and with another in its place (the same theorems, the same
proofs), and the difference, with intervals. All of a sample is scored: each model with memory is
held against the model without that was trained on as many segments, and so on as many targets.

{_one_pass(found)}## Numbers

{proofs_table(found).markdown()}"""
