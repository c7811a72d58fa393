"""Figure 5 of the paper: retention up to 4096 segments, two million tokens. Measured.

Models trained on at most 7 segments with a gradient, and a burn-in without. Claims: at every length
at least the paper's accuracy; at 4096 segments what this project set out for; memory constant in
the length, measured at each one. Every seed is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rmtscale.report.claims import Claim, Outcome
from rmtscale.study.figures.memory_tasks.axes import TITLES, Curve, Points
from rmtscale.study.figures.memory_tasks.claims import curves_by, learned, words
from rmtscale.study.figures.memory_tasks.published import paper_points
from rmtscale.study.figures.memory_tasks.recipes import TASKS
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.units import format_accuracy, format_bytes, format_percent, format_tokens

LONGEST = 4096
TARGETS = {"memorize": 0.995, "detect-memorize": 0.98, "reasoning": 0.90}
"""At 4096 segments; the paper has 90.56, 96.07 and 81.90 %."""
CONSTANT_WITHIN = 0.01
CONSTANT_WITHIN_RESIDENT = 0.25
"""On a CPU: the resident memory of a process also holds what the data were made of."""

Curves = dict[str, dict[int, Curve]]
"""Curves by task and seed."""


def by_task(records: Sequence[EvaluationRecord]) -> Curves:
    """Groups records by task and seed."""
    curves = {
        task: curves_by(
            lambda record: record.trained_seed,
            (record for record in records if record.point.task == task),
        )
        for task in TASKS
    }
    return {task: own for task, own in curves.items() if own}


def paper_curves() -> dict[str, Points]:
    """Reads the published curves, by task."""
    return {task: points for (task,), points in paper_points("figure_5", ("segments",)).items()}


def peaks_of(ours: Curves) -> dict[int, int]:
    """Returns peak bytes by tokens, of the first training."""
    first = next(iter(next(iter(ours.values())).values()))
    peaks = {}
    for record in first.values():
        memory = record.memory
        peak = memory.peak_allocated_bytes or memory.peak_resident_bytes
        if peak is not None:
            peaks[record.point.tokens] = peak
    return peaks


def check_claims(ours: Curves, paper: Mapping[str, Points], *, long: bool = True) -> list[Claim]:
    """Checks every claim against the records.

    Args:
        ours: by task and seed.
        paper: by task.
        long: False is the toy size, which is held against chance only.
    """
    missing = [task for task in TASKS if task not in ours]
    claims = [
        Claim(f"{TITLES[task]}: trained and evaluated", "yes", "not evaluated", "not measurable")
        for task in missing
    ]
    for task, curves in ours.items():
        title = TITLES[task]
        for seed, curve in curves.items():
            trained = next(iter(curve.values())).trained_segments
            inside = [count for count in curve if count <= trained]
            known = curve[max(inside)] if inside else None
            claims.append(learned(f"{title}, seed {seed}: learned", known))
            if long:
                claims.append(_everywhere(f"{title}, seed {seed}", curve, paper[task]))
                claims.append(_target(f"{title}, seed {seed}", curve, task, paper[task]))
    claims += [
        _constant(f"{TITLES[task]}, seed {seed}", curve)
        for task, curves in ours.items()
        for seed, curve in curves.items()
    ]
    return claims


def _everywhere(title: str, curve: Curve, paper: Points) -> Claim:
    text = f"{title}: at least the paper's at every length"
    shared = [count for count in paper if count in curve]
    if not shared:
        return Claim(text, "its curve", "no length of it was evaluated", "not measurable")
    below = [count for count in shared if curve[count].high < paper[count]]
    if not below:
        return Claim(text, "its curve", f"at all {len(shared)} lengths", "pass", "95 % interval")
    worst = min(below, key=lambda count: curve[count].accuracy - paper[count])
    ours = (
        f"below it at {len(below)} of {len(shared)}, most at {format_tokens(worst)}: "
        f"{format_accuracy(curve[worst].accuracy)} against {format_accuracy(paper[worst])}"
    )
    return Claim(text, "its curve", ours, "fail", "95 % interval")


def _target(title: str, curve: Curve, task: str, paper: Points) -> Claim:
    target = TARGETS[task]
    text = f"{title}: {format_accuracy(target)} at {format_tokens(LONGEST)} segments"
    record = curve.get(LONGEST)
    if record is None:
        return Claim(text, format_accuracy(paper[LONGEST]), "not evaluated", "not measurable")
    outcome: Outcome = "pass" if record.accuracy >= target else "fail"
    return Claim(text, format_accuracy(paper[LONGEST]), words(record), outcome, "exact")


def _constant(title: str, curve: Curve) -> Claim:
    text = f"{title}: memory constant in length, measured"
    peaks, limit = {}, CONSTANT_WITHIN
    for count, record in curve.items():
        memory = record.memory
        if memory.peak_allocated_bytes is not None:
            peaks[count] = memory.peak_allocated_bytes
        elif memory.peak_resident_bytes is not None:
            limit = CONSTANT_WITHIN_RESIDENT
            peaks[count] = memory.peak_resident_bytes - record.host_ids_bytes
    # One segment alone is read in one go; from two on the same step is taken again and again.
    peaks = {count: peak for count, peak in peaks.items() if count > 1}
    if len(peaks) < 2:
        return Claim(text, "constant", "fewer than two lengths", "not measurable")
    spread = max(peaks.values()) / min(peaks.values()) - 1
    last = max(peaks)
    ours = (
        f"{format_bytes(peaks[last])} at {format_tokens(last)}, {format_percent(spread)} over all"
    )
    outcome: Outcome = "pass" if spread <= limit else "fail"
    return Claim(text, "constant", ours, outcome, format_percent(limit))
