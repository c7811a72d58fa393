"""Goals of this project on BABILong, held against records. Measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rmtscale.report.claims import Claim, Outcome
from rmtscale.study.figures.babilong.published import average, published
from rmtscale.study.figures.babilong.runs import (
    DEAD_BAND,
    PLAIN,
    Run,
    mean_accuracy,
    missing,
    shown,
)
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.units import format_accuracy, format_bytes, format_percent, format_seconds

TARGETS = {"128k": 0.97, "1M": 0.94, "10M": 0.85}
"""Averages over the five tasks."""
MOST_SECONDS = 10.0
"""Longest time of a sample of ten million tokens."""
CONSTANT_WITHIN = 0.01
_SUFFIXES = {PLAIN: "", DEAD_BAND: " with a dead band"}


def check_claims(runs: Sequence[Run]) -> list[Claim]:
    """Checks every claim, of each variant its own; what has no run yet is not measurable."""
    claims = []
    for variant, suffix in _SUFFIXES.items():
        best = shown(runs, variant)
        claims += [_ahead(task, best.get(task), suffix) for task in QAS]
        claims += [_target(length, target, best, suffix) for length, target in TARGETS.items()]
    claims.append(_constant(runs))
    claims.append(_fast(runs))
    return claims


def _ahead(task: str, run: Run | None, suffix: str) -> Claim:
    text = f"{task}{suffix}: ahead of the published RMT, or level, at every length"
    theirs = published()["rmt"][task]
    if run is None:
        return Claim(text, "its row", "no run yet", "not measurable")
    both = [length for length in theirs if length in run.curve]
    if not both:
        return Claim(text, "its row", "no run at its lengths yet", "not measurable")
    below = [length for length in both if run.curve[length].high < theirs[length]]
    if below:
        worst = min(below, key=lambda one: run.curve[one].accuracy - theirs[one])
        ours = (
            f"below it at {len(below)} of {len(both)}, most at {worst}: "
            f"{format_accuracy(run.curve[worst].accuracy)} against {format_accuracy(theirs[worst])}"
        )
        return Claim(text, "its row", ours, "fail", "95 % interval")
    left = len(theirs) - len(both)
    if left:
        ours = f"at {len(both)} lengths, {left} have no run yet"
        return Claim(text, "its row", ours, "not measurable", "95 % interval")
    return Claim(text, "its row", f"at all {len(both)}", "pass", "95 % interval")


def _target(length: str, target: float, best: Mapping[str, Run], suffix: str) -> Claim:
    text = f"average of qa1 to qa5 at {length}{suffix}: at least {format_accuracy(target)}"
    theirs = " and ".join(
        f"{format_accuracy(average(published()[name])[length])} ({title})"
        for name, title in (("armt", "ARMT"), ("rmt", "RMT"))
    )
    ours = mean_accuracy(best, length)
    if ours is None:
        lacking = ", ".join(missing(best, length))
        return Claim(text, theirs, f"no run yet: {lacking}", "not measurable")
    outcome: Outcome = "pass" if ours >= target else "fail"
    return Claim(text, theirs, format_accuracy(ours), outcome, "exact")


def _constant(runs: Sequence[Run]) -> Claim:
    text = "peak memory of the GPU constant in the length, measured"
    worst, peaks = 0.0, [0]
    compared = False
    for run in runs:
        own: dict[tuple[int, bool | None], list[int]] = {}
        for length, record in run.curve.items():
            peak = record.memory.peak_allocated_bytes
            # Samples that are read together each have a state and activations of their own, and
            # what is compiled has other workspaces.
            if length != "0k" and peak is not None:
                alike = record.batch_size, record.point.compile_step
                own.setdefault(alike, []).append(peak)
        for some in own.values():
            if len(some) > 1:
                compared = True
                worst, peaks = max((worst, peaks), (max(some) / min(some) - 1, some))
    if not compared:
        return Claim(text, "constant", "fewer than two lengths on a GPU", "not measurable")
    outcome: Outcome = "pass" if worst <= CONSTANT_WITHIN else "fail"
    ours = f"{format_bytes(max(peaks))}, {format_percent(worst)} over all lengths"
    return Claim(text, "constant", ours, outcome, format_percent(CONSTANT_WITHIN))


def _fast(runs: Sequence[Run]) -> Claim:
    text = f"10M tokens in under {format_seconds(MOST_SECONDS)} a sample"
    found = [run.curve["10M"] for run in runs if "10M" in run.curve]
    if not found:
        return Claim(text, "", "no run yet", "not measurable")
    slowest = max(found, key=lambda record: record.seconds_per_sample)
    seconds = slowest.seconds_per_sample
    outcome: Outcome = "pass" if seconds < MOST_SECONDS else "fail"
    ours = f"{format_seconds(seconds)}, of {slowest.batch_size} read together"
    ours += ", compiled" if slowest.point.compile_step else ""
    return Claim(text, "", ours, outcome, "exact")
