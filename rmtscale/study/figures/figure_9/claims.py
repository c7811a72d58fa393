"""Figure 9 of the paper: proofs after their lemmas, loss by segments read. Measured.

Claims: memory lowers the loss of all tokens and of the last segment; more than four segments
in training do not help; and, beyond the paper, the names of lemmas in a proof cost less where the
lemma itself was in the context than where another stood in its place, and memory makes more of it
than a model without, which can only use a lemma that stands in the segment of the proof.

All of a sample is scored, so more segments in training are more targets. The first two claims are
made for each number of segments in training by itself, against the model without memory that was
trained on the same number: a gain cannot come from more targets, and none is chosen. The paper has
one model without memory, trained on two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure_9.drawing import (
    LAST,
    NAMES,
    NAMES_WITHOUT,
    Prover,
    worth_part,
)
from rmtscale.study.figures.language.claims import Contrast, contrast, lower, no_higher
from rmtscale.study.figures.language.groups import difference
from rmtscale.study.records.clusters import paired_difference
from rmtscale.study.records.language import ALL, LanguageRecord
from rmtscale.units import format_bits_per_byte

ENOUGH = 4
"""Segments in training beyond which the paper gains nothing."""


def check_claims(models: Sequence[Prover], name: str = "") -> list[Claim]:
    """Checks every claim against the models of one backbone.

    Args:
        models: ours.
        name: of the backbone, where claims of several stand beside each other.
    """
    begin = f"{name}, " if name else ""
    names = [
        gap
        for prover in _longest(models)
        for seed, curve in prover.runs.items()
        for count, record in curve.items()
        if count > 1
        for gap in contrast(
            f"seed {seed}, {count} segments",
            seed,
            difference(record, record, NAMES, NAMES_WITHOUT),
        )
    ]
    memory = [
        lower(
            f"{begin}{words}, trained on {prover.trained}: memory is lower than none",
            "yes",
            against(prover, models, part),
        )
        for words, part in (("all tokens", ALL), ("last segment", LAST))
        for prover in models
        if prover.memory
    ]
    return [
        *memory,
        no_higher(
            f"{begin}trained on more than {ENOUGH} segments: no better at the longest input",
            "yes",
            list(_beyond_enough(models)),
        ),
        lower(f"{begin}names: lower with their lemma in the context", "not in the paper", names),
        lower(
            f"{begin}names: memory makes more of their lemma than none",
            "not in the paper",
            [gap for prover in _longest(models) for gap in less_made_of_lemmas(prover, models)],
        ),
    ]


def against(prover: Prover, models: Sequence[Prover], part: str) -> list[Contrast]:
    """Compares a model with memory with its like without, wherever both read two or more.

    Its like was trained on as many segments of as many tokens, and on as many tokens in all.
    """
    return [
        gap
        for where, seed, record, plain in _pairs(prover, models)
        for gap in contrast(where, seed, difference(record, plain, part))
    ]


def less_made_of_lemmas(prover: Prover, models: Sequence[Prover]) -> list[Contrast]:
    """Compares what lemmas take off their names without memory and with it."""
    contrasts = []
    for where, seed, record, plain in _pairs(prover, models):
        with_memory, without = worth_part(record), worth_part(plain)
        if with_memory and without and with_memory.tokens == without.tokens:
            contrasts += contrast(where, seed, paired_difference(without, with_memory))
    return contrasts


def _pairs(
    prover: Prover, models: Sequence[Prover]
) -> Iterator[tuple[str, int, LanguageRecord, LanguageRecord]]:
    """Yields where, seed, with memory, without: of trainings alike, from two segments on."""
    for other in models:
        if other.memory or other[1:3] != prover[1:3]:
            continue
        for seed, curve in prover.runs.items():
            plain = other.runs.get(seed, {})
            for count, record in curve.items():
                if count > 1 and count in plain and _as_much(record, plain[count]):
                    yield f"seed {seed}, {count} segments", seed, record, plain[count]


def against_one_pass(models: Sequence[Prover], part: str) -> list[Contrast]:
    """Compares memory, read as trained, with the model that read that text in one pass."""
    contrasts = []
    for prover in models:
        for other in models:
            text = prover.trained * prover.segment_tokens
            if not prover.memory or not other.one_pass or other.segment_tokens != text:
                continue
            for seed, curve in prover.runs.items():
                first, second = curve.get(prover.trained), other.runs.get(seed, {}).get(1)
                if first and second and _as_much(first, second):
                    contrasts += contrast(f"seed {seed}", seed, difference(first, second, part))
    return contrasts


def _as_much(first: LanguageRecord, second: LanguageRecord) -> bool:
    """Tells whether both were trained on as many tokens."""
    return first.model.trained_tokens == second.model.trained_tokens


def answer(models: Sequence[Prover]) -> str:
    """Says what memory takes off the loss of proofs, and what a lemma is worth to its name."""
    parts = []
    for prover in _longest(models):
        trained = f"Memory trained on {prover.trained} segments"
        changes = [gap.interval for gap in against(prover, models, ALL)]
        if changes:
            raises = all(change.low > 0 for change in changes)
            least, most = sorted(abs(of(change.mean for change in changes)) for of in (min, max))
            parts.append(
                f"{trained} {'raises' if raises else 'lowers'} the loss of proofs by "
                f"{format_bits_per_byte(least)} to {format_bits_per_byte(most)} bits per byte"
                if raises or all(change.high < 0 for change in changes)
                else f"{trained} does not lower the loss of proofs at every length"
            )
        lemmas = [gap.interval for gap in less_made_of_lemmas(prover, models)]
        if lemmas:
            least, most = (-of(lemma.mean for lemma in lemmas) for of in (max, min))
            if all(lemma.high < 0 for lemma in lemmas):
                words = f"at least {format_bits_per_byte(least)} bits per byte more"
            else:
                more = f"at most {format_bits_per_byte(most)} bits per byte more"
                words = more if any(lemma.high < 0 for lemma in lemmas) else "no more"
            parts.append(f"to its name a lemma is worth {words} than without memory")
    return "; ".join(parts) or "Loss of proofs by segments read"


def _longest(models: Sequence[Prover]) -> list[Prover]:
    """Picks the longest training with memory, if there is one."""
    return sorted((model for model in models if model.memory), key=lambda model: model.trained)[-1:]


def _beyond_enough(models: Sequence[Prover]) -> Iterator[Contrast]:
    """Yields trained on four less trained on more, at the longest input of both."""
    enough = [model for model in models if model.memory and model.trained == ENOUGH]
    for few in enough:
        for many in models:
            if many.memory and many.trained > ENOUGH:
                for seed, curve in many.runs.items():
                    other = few.runs.get(seed, {})
                    shared = [count for count in curve if count in other]
                    if shared:
                        at = max(shared)
                        where = f"{ENOUGH} less {many.trained}, seed {seed}, {at} segments"
                        yield from contrast(where, seed, difference(other[at], curve[at]))
