"""Curves of accuracy against length, and claims that so many samples can hold up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from rmtscale.report.claims import Claim, Outcome
from rmtscale.study.figures.memory_tasks.axes import CHANCE, Curve
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.units import format_accuracy, format_interval

Shared = TypeVar("Shared", int, str)

ENCODER_TARGETS = {"memorize": (0.995, 3), "detect-memorize": (0.995, 3), "reasoning": (0.85, 2)}
"""Accuracy at 4096 segments of a pretrained encoder, and the seeds that it has to be on."""


def curves_by(
    key: Callable[[EvaluationRecord], Shared], records: Iterable[EvaluationRecord]
) -> dict[Shared, Curve]:
    """Groups records into curves by a number or name they share, smallest first.

    A curve has its records by the number of segments read, shortest first; a later record takes
    the place of an earlier one of the same length.
    """
    curves: dict[Shared, dict[int, EvaluationRecord]] = {}
    for record in records:
        curves.setdefault(key(record), {})[record.point.segments] = record
    return {shared: dict(sorted(curve.items())) for shared, curve in sorted(curves.items())}


def reaches(text: str, paper: float, record: EvaluationRecord | None) -> Claim:
    """Claims that our accuracy is at least the paper's, as far as so many samples can tell."""
    if record is None:
        return Claim(text, format_accuracy(paper), "not evaluated", "not measurable")
    outcome: Outcome = "pass" if record.high >= paper else "fail"
    return Claim(text, format_accuracy(paper), words(record), outcome, "95 % interval")


def learned(text: str, record: EvaluationRecord | None) -> Claim:
    """Claims that something was learned at all: the interval lies above chance."""
    if record is None:
        return Claim(text, "above chance", "not evaluated", "not measurable")
    outcome: Outcome = "pass" if record.low > CHANCE else "fail"
    return Claim(text, "above chance", words(record), outcome, "95 % interval")


def words(record: EvaluationRecord) -> str:
    """Writes an accuracy with its interval: ``99.90 % (99.43 to 99.98)``."""
    return f"{format_accuracy(record.accuracy)} ({format_interval(record.low, record.high)})"


def at_all_lengths(count: int) -> str:
    """Writes that something holds at so many lengths: ``at all 12 lengths``."""
    return f"at all {count} lengths" if count > 1 else "at the one length read"
