"""Goals of this project on BABILong, held against records. Measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from rmtscale.report.claims import Claim, Outcome
from rmtscale.study.figures.babilong.published import SHORT, average, published
from rmtscale.study.figures.babilong.runs import (
    DEAD_BAND,
    PLAIN,
    Run,
    mean_accuracy,
    missing,
    shown,
)
from rmtscale.study.figures.babilong.same_memory import comparable
from rmtscale.study.figures.babilong.standing import side_of, standing
from rmtscale.study.records.babilong import BabilongRecord
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.units import (
    format_accuracy,
    format_bytes,
    format_compiled,
    format_percent,
    format_seconds,
)

TARGETS = {"128k": Fraction(97, 100), "1M": Fraction(94, 100), "10M": Fraction(85, 100)}
"""Averages over the five tasks."""
MOST_SECONDS = 10.0
"""Longest time of a sample of ten million tokens."""
CONSTANT_WITHIN = 0.01
_TOLERANCE = "95 % interval, theirs a whole percent"
_SUFFIXES = {PLAIN: "", DEAD_BAND: " with a dead band"}


def check_claims(runs: Sequence[Run]) -> list[Claim]:
    """Checks every claim, of each variant its own; what has no run yet is not measurable."""
    claims = []
    for variant, suffix in _SUFFIXES.items():
        best = shown(runs, variant)
        claims += [_ahead(task, best.get(task), suffix) for task in QAS]
        claims += [_everywhere(best, system, suffix) for system in ("rmt", "armt")]
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
    below = [one for one in both if side_of(run.curve[one], theirs[one]) == "behind"]
    if below:
        worst = min(below, key=lambda one: run.curve[one].accuracy - theirs[one])
        where = "most at" if len(below) > 1 else "at"
        ours = (
            f"below it at {len(below)} of {len(both)}, {where} {worst}: "
            f"{format_accuracy(run.curve[worst].accuracy)} against {format_accuracy(theirs[worst])}"
        )
        return Claim(text, "its row", ours, "fail", _TOLERANCE)
    left = len(theirs) - len(both)
    if left:
        ours = f"at {len(both)} lengths, {left} have no run yet"
        return Claim(text, "its row", ours, "not measurable", _TOLERANCE)
    return Claim(text, "its row", f"at all {len(both)}", "pass", _TOLERANCE)


def _everywhere(best: Mapping[str, Run], system: str, suffix: str) -> Claim:
    found = standing(best, system)
    text = f"ahead of the published {SHORT[system]}, or level, at all {found.points} points{suffix}"
    outcome: Outcome = "fail" if found.behind else "not measurable" if found.missing else "pass"
    return Claim(text, "its table", str(found), outcome, _TOLERANCE)


def _target(length: str, target: Fraction, best: Mapping[str, Run], suffix: str) -> Claim:
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
    groups = [group for run in runs for group in comparable(run)]
    if not groups:
        return Claim(text, "constant", "fewer than two lengths on a GPU", "not measurable")
    worst = max(groups, key=_apart)
    outcome: Outcome = "pass" if _apart(worst) <= CONSTANT_WITHIN else "fail"
    ends = " to ".join(worst[at].point.length for at in (0, -1))
    ours = (
        f"{format_bytes(max(_peaks(worst)))}, {format_percent(_apart(worst))} apart from {ends}, "
        f"the most of {len(groups)} comparisons"
    )
    return Claim(text, "constant", ours, outcome, format_percent(CONSTANT_WITHIN))


def _apart(records: Sequence[BabilongRecord]) -> float:
    peaks = _peaks(records)
    return max(peaks) / min(peaks) - 1


def _peaks(records: Sequence[BabilongRecord]) -> list[int]:
    peaks = (record.memory.peak_allocated_bytes for record in records)
    return [peak for peak in peaks if peak is not None]


def _fast(runs: Sequence[Run]) -> Claim:
    text = f"10M tokens in under {format_seconds(MOST_SECONDS)} a sample"
    found = [run.curve["10M"] for run in runs if "10M" in run.curve]
    if not found:
        return Claim(text, "", "no run yet", "not measurable")
    slowest = max(found, key=_seconds)
    outcome: Outcome = "pass" if slowest.seconds_per_sample < MOST_SECONDS else "fail"
    alone = [record for run in runs if (record := run.alone("10M")) and record is not slowest]
    words = [_time(record) for record in (slowest, *sorted(alone, key=_seconds)[-1:])]
    if slowest.batch_size > 1 and not alone:
        words.append("none was read alone")
    return Claim(text, "", "; ".join(words), outcome, "exact")


def _seconds(record: BabilongRecord) -> float:
    return record.seconds_per_sample


def _time(record: BabilongRecord) -> str:
    """Says what a sample takes, alone or as its share of a batch, and the time of that batch."""
    each, rows = record.seconds_per_sample, record.batch_size
    how = "one alone" if rows == 1 else f"{rows} side by side in {format_seconds(each * rows)}"
    compiled = format_compiled(record.point.compile_step)
    return f"{format_seconds(each)}, {how}{compiled}"
