"""Figure 7 of the paper: loss by segments read, trained on 1 to 7, two input sizes. Measured.

Claims: one extra segment brings the loss below that of the same model without memory; nearly all
of the gain comes with it; models trained on two and more hold when they read up to four times as
many and 32; and more segments in training are no worse at many. Paired by document, every seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rmtscale.errors import BadInput
from rmtscale.report.claims import Claim, Outcome
from rmtscale.study.figures.figure_7.drawing import change
from rmtscale.study.figures.language.claims import Contrast, contrast, lower, no_higher
from rmtscale.study.figures.language.groups import (
    Curve,
    InputSize,
    Runs,
    difference,
    input_sizes,
    mean_curve,
    mean_part,
)
from rmtscale.study.figures.language.lines import size_name
from rmtscale.study.figures.language.published import Published, counterpart
from rmtscale.study.records.clusters import paired_difference
from rmtscale.study.records.language import LanguageRecord
from rmtscale.units import format_bits_per_byte, format_percent, format_tokens

FAR = 4
"""Times as many segments read as in training."""
LONGEST = 32


def sizes_of(records: Sequence[LanguageRecord]) -> list[InputSize]:
    """Picks the input sizes that have models with memory, trained on mixed lengths.

    Raises:
        BadInput: there is none.
    """
    sizes = [size for size in input_sizes(records, mixing=True) if size.rmt]
    if not sizes:
        raise BadInput("records of figure-7: expected models with memory, trained on mixed lengths")
    return sizes


def check_claims(records: Sequence[LanguageRecord], paper: Mapping[int, Published]) -> list[Claim]:
    """Checks every claim against the records.

    Args:
        records: ours, with mixing.
        paper: its curves by input size.
    """
    sizes = sizes_of(records)
    claims = []
    for size in sizes:
        name, beside = size_name(size, sizes), counterpart(size, paper)
        claims += [
            _one_extra(f"{name}: with one extra segment below no memory", size, size.own, beside),
            *_below_the_block_alone(name, size, beside),
            _first_brings_most(name, size, beside),
            *_holds_far(name, size, beside),
            _holds_at_longest(name, size, beside),
            _more_training(name, size, beside),
        ]
    return claims


def answer(sizes: Sequence[InputSize]) -> str:
    """Says by how much memory lowers the loss, and what the first segment has of it."""
    gains, lost, shares = [], [], []
    for size in sizes:
        runs = size.rmt.get(size.most_trained or 0, {})
        changes = {count: span for count, span in change(runs, size.own).items() if count > 1}
        if not changes:
            continue
        mean, _, high = min(changes.values())
        place = f"at {size_name(size, sizes)}"
        if high >= 0:
            lost.append(place)
            continue
        gains.append(f"by {format_percent(-mean)} {place}")
        share = first_share(mean_curve(runs, lambda record: record.whole.bits_per_byte))
        if share is not None:
            shares.append(format_percent(share))
    parts = [f"lowers the loss {' and '.join(gains)}"] * bool(gains)
    parts += [f"does not lower {'it' if gains else 'the loss'} {' and '.join(lost)}"] * bool(lost)
    if not parts:
        return "Loss by segments read; no model without memory to compare with"
    first = f"; the first extra segment brings {' and '.join(shares)} of what reading brings"
    return f"Memory {', and '.join(parts)}{first if shares else ''}"


def first_share(losses: Mapping[int, float]) -> float | None:
    """Computes the first extra segment's share of the best gain; None where nothing is gained."""
    if not {1, 2} <= set(losses):
        return None
    best = losses[1] - min(losses.values())
    return (losses[1] - losses[2]) / best if best > 0 else None


def _below_the_block_alone(name: str, size: InputSize, paper: Published | None) -> Iterator[Claim]:
    """Claims the same of the paper's baseline, which leaves the positions of memory empty."""
    alone = size.contexts.get(0)
    if alone is not None and alone is not size.own:
        text = f"{name}: with one extra segment below no memory and no context"
        yield _one_extra(text, size, alone, paper)


def _one_extra(
    text: str, size: InputSize, baseline: Mapping[int, LanguageRecord], paper: Published | None
) -> Claim:
    """Compares reading two segments with the baseline, both after as many steps."""
    papers = "yes"
    if paper is not None:
        papers = f"{format_percent(paper.changes(max(paper.curves))[2], signed=True)} of the loss"
    read = list(_trained(size, 2))
    steps = {record.model.trained_steps for record in baseline.values()}
    steps |= {curve[2].model.trained_steps for _, _, curve in read if 2 in curve}
    if len(steps) > 1:
        counts = " and ".join(format_tokens(count) for count in sorted(steps))
        return Claim(text, papers, f"trained for {counts} steps", "not measurable")
    contrasts = [
        gap
        for trained, seed, curve in read
        if 2 in curve and seed in baseline
        for gap in contrast(
            f"trained on {trained}, seed {seed}", seed, difference(curve[2], baseline[seed])
        )
    ]
    return lower(text, papers, contrasts)


def _first_brings_most(name: str, size: InputSize, paper: Published | None) -> Claim:
    """Tests half of the best gain less the first: ``loss(2) - (loss(1) + loss(best)) / 2``."""
    text = f"{name}: the first extra segment brings at least half of what reading brings"
    papers = "nearly all"
    if paper is not None:
        share = first_share(paper.curves[max(paper.curves)])
        papers = "" if share is None else format_percent(share)
    words, holds = [], True
    for seed, curve in size.rmt.get(size.most_trained or 0, {}).items():
        losses = {count: record.whole.bits_per_byte for count, record in curve.items()}
        share = first_share(losses)
        if share is None:
            continue
        best = min(losses, key=lambda count: losses[count])
        first, second, least = (curve[count].whole for count in (1, 2, best))
        gain = paired_difference(first, second)
        lacking = paired_difference(second, mean_part([first, least]))
        holds &= gain.low > 0 >= lacking.high
        words.append(
            f"seed {seed}: {format_percent(share)} of "
            f"{format_bits_per_byte(losses[1] - losses[best])} bits per byte"
        )
    if not words:
        if any(1 in curve and 2 in curve for _, _, curve in _trained(size, 2)):
            return Claim(text, papers, "nothing is gained by reading more", "fail")
        return Claim(text, papers, "not evaluated", "not measurable")
    outcome: Outcome = "pass" if holds else "fail"
    return Claim(text, papers, "; ".join(words), outcome, "95 % interval")


def _holds_far(name: str, size: InputSize, paper: Published | None) -> Iterator[Claim]:
    for trained, runs in size.rmt.items():
        if trained > 1:
            far = FAR * trained
            text = f"{name}: trained on {trained}, read up to {far}: no worse than {trained}"
            yield no_higher(text, _paper_beyond(paper, trained, far), _beyond(trained, runs, far))


def _holds_at_longest(name: str, size: InputSize, paper: Published | None) -> Claim:
    most = size.most_trained or 0
    text = f"{name}: trained on {most}, read {LONGEST}: no worse than {most}"
    runs = {seed: curve for seed, curve in size.rmt.get(most, {}).items() if LONGEST in curve}
    return no_higher(text, _paper_beyond(paper, most, LONGEST), _beyond(most, runs, LONGEST))


def _beyond(trained: int, runs: Runs, last: int) -> list[Contrast]:
    """Compares the loss at the most segments beyond the trained number with that at it.

    One length a seed: the worst of many would lie outside its interval by chance alone.
    """
    contrasts = []
    for seed, curve in runs.items():
        far = max((count for count in curve if trained < count <= last), default=None)
        if far is not None and trained in curve:
            where = f"seed {seed}, {far} read"
            contrasts += contrast(where, seed, difference(curve[far], curve[trained]))
    return contrasts


def _paper_beyond(paper: Published | None, trained: int, last: int) -> str:
    points = {} if paper is None else paper.curves.get(trained, {})
    far = max((count for count in points if trained < count <= last), default=None)
    if far is None:
        return "not shown"
    return f"{format_percent(points[far] / points[trained] - 1, signed=True, digits=2)} at {far}"


def _more_training(name: str, size: InputSize, paper: Published | None) -> Claim:
    """Compares the longest training with every shorter one, where both read the most."""
    text = f"{name}: trained on more segments, no worse at many"
    most = size.most_trained or 0
    contrasts = []
    for trained, seed, curve in _trained(size, 1):
        longest = size.rmt[most].get(seed, {})
        shared = [count for count in curve if count in longest]
        if trained < most and shared:
            at = max(shared)
            where = f"{most} less {trained}, seed {seed}, {at} read"
            contrasts += contrast(where, seed, difference(longest[at], curve[at]))
    papers = "yes"
    if paper is not None:
        few, many = (paper.curves[of(paper.curves)] for of in (min, max))
        at = max(set(few) & set(many))
        drop = format_percent(many[at] / few[at] - 1, signed=True)
        papers = f"{drop}, {max(paper.curves)} against {min(paper.curves)}, {at} read"
    return no_higher(text, papers, contrasts)


def _trained(size: InputSize, least: int) -> Iterator[tuple[int, int, Curve]]:
    """Yields segments trained on, seed and curve of models trained on at least so many."""
    for trained, runs in size.rmt.items():
        if trained >= least:
            for seed, curve in runs.items():
                yield trained, seed, curve
