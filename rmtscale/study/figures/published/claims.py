"""Predicted against published: errors by source, the order of layouts, and memory.

Claims are what was asked of the predictions, whether they hold or not. Beside each source stands
what one utilization for everything gives, the median one of all other sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median
from typing import NamedTuple

from rmtscale.report.claims import Claim, Outcome
from rmtscale.study.figures.published.points import GIB, SOURCES, Published
from rmtscale.units import format_percent

APART = 0.03
"""Pairs of layouts whose times differ by less than this are not put in order."""
LONG_TOKENS = ("cp1", "cp2", "cp4", "cp8")


class SourceError(NamedTuple):
    """Errors on one source."""

    source: str
    kind: str
    points: int
    median: float
    worst: float
    bias: float
    """The median error with its sign."""
    one_utilization: float | None
    """Median error of one utilization for everything; None of memory."""


def times(points: Sequence[Published]) -> list[Published]:
    """Returns the step times."""
    return [point for point in points if point.kind == "time"]


def readings(points: Sequence[Published]) -> list[Published]:
    """Returns what a GPU was seen to hold."""
    return [point for point in points if point.kind == "memory" and point.measured > 0]


def context_bytes(points: Sequence[Published], source: str) -> float:
    """Returns the one constant of a source's readings: a context, a cache, fragments.

    It is the median of what they have above the prediction.
    """
    above = [one.measured - one.predicted for one in readings(points) if one.source == source]
    return median(above)


def source_errors(points: Sequence[Published]) -> list[SourceError]:
    """Returns the errors of each source, times first."""
    found = []
    for kind, chosen in (("time", times(points)), ("memory", readings(points))):
        for source in SOURCES:
            mine = [one for one in chosen if one.source == source]
            if not mine:
                continue
            errors = [_error(points, one) for one in mine]
            naive = None
            if kind == "time":
                naive = median(abs(error) for error in one_utilization(points, source))
            found.append(
                SourceError(
                    source,
                    kind,
                    len(mine),
                    median(map(abs, errors)),
                    max(map(abs, errors)),
                    median(errors),
                    naive,
                )
            )
    return found


def _error(points: Sequence[Published], one: Published) -> float:
    if one.kind == "time":
        return one.error
    return (one.predicted + context_bytes(points, one.source)) / one.measured - 1


def one_utilization(points: Sequence[Published], source: str) -> list[float]:
    """Returns the errors on a source of the median utilization of all others."""
    others = [one for one in times(points) if one.source != source and not one.float8]
    share = median(one.flops / (one.peak * one.measured) for one in others)
    mine = [one for one in times(points) if one.source == source]
    return [one.flops / (one.peak * share) / one.measured - 1 for one in mine]


def ordered_pairs(points: Sequence[Published], source: str = "bloom") -> tuple[int, int]:
    """Returns how many pairs of layouts of one model are in the right order, and of how many."""
    pairs = _pairs(points, source)
    right = sum((a.predicted < b.predicted) == (a.measured < b.measured) for a, b in pairs)
    return right, len(pairs)


def _pairs(points: Sequence[Published], source: str) -> list[tuple[Published, Published]]:
    """Different layouts of one model whose times differ enough to be put in order."""
    mine = [one for one in times(points) if one.source == source]
    return [
        (a, b)
        for a, b in combinations(mine, 2)
        if a.alike == b.alike and a.layout != b.layout and abs(a.measured / b.measured - 1) >= APART
    ]


def pairs_within(points: Sequence[Published], spread: float, source: str = "bloom") -> int:
    """Returns how many of ``ordered_pairs`` differ by no more than such a spread."""
    pairs = [sorted((a.measured, b.measured)) for a, b in _pairs(points, source)]
    return sum(slow / fast - 1 <= spread for fast, slow in pairs)


def repeats(points: Sequence[Published], source: str = "bloom") -> list[tuple[int, float]]:
    """Returns of each layout that was measured more than once how often, and by how much it varies.

    The slowest over the fastest, less 1: no prediction can be nearer to both than half of that.
    """
    found: dict[tuple[object, ...], list[float]] = {}
    for one in times(points):
        if one.source == source:
            found.setdefault((one.alike, one.layout), []).append(one.measured)
    several = [values for values in found.values() if len(values) > 1]
    return [(len(values), max(values) / min(values) - 1) for values in several]


def memory_errors(points: Sequence[Published]) -> list[float]:
    """Returns the sizes of the errors of all readings, the smallest first."""
    return sorted(abs(_error(points, one)) for one in readings(points))


def out_of_memory(points: Sequence[Published]) -> tuple[int, int]:
    """Returns for how many memory rows it was rightly said whether they fit, and of how many."""
    rows = [one for one in points if one.kind == "memory"]
    right = 0
    for one in rows:
        needed = one.predicted + context_bytes(points, one.source)
        right += (needed <= one.room) == (one.measured > 0)
    return right, len(rows)


def check_claims(points: Sequence[Published]) -> list[Claim]:
    """Holds the predictions against what was asked of them."""
    errors = sorted(abs(one.error) for one in times(points))
    middle, ninth = median(errors), errors[int(0.9 * len(errors))]
    naive = median(abs(error) for source in SOURCES for error in one_utilization(points, source))
    right, pairs = ordered_pairs(points)
    long = [one for one in times(points) if any(part in one.name for part in LONG_TOKENS)]
    memory = memory_errors(points)
    fits, rows = out_of_memory(points)
    gone = rows - len(memory)
    return [
        _at_most(f"step time, median error of {len(errors)}", 0.08, middle),
        _at_most("step time, 90th percentile", 0.25, ninth),
        _at_most("the median over that of one utilization for everything", 0.5, middle / naive),
        _at_least(f"{pairs} pairs of BLOOM's layouts in the right order", 0.8, right / pairs),
        _at_most(
            f"the worst of {len(long)} times at 32k to 262k tokens",
            0.2,
            max(abs(one.error) for one in long),
        ),
        _at_most(f"memory, median error of {len(memory)} readings", 0.04, median(memory)),
        _at_most("memory, worst error", 0.12, memory[-1]),
        _at_least(
            f"{rows} memory rows, {gone} of them out of memory: fits or not", 0.95, fits / rows
        ),
    ]


def constants(points: Sequence[Published]) -> dict[str, float]:
    """Returns the constant of each source's memory readings, in GiB."""
    sources = {one.source for one in readings(points)}
    return {one: context_bytes(points, one) / GIB for one in SOURCES if one in sources}


def _at_most(text: str, asked: float, found: float) -> Claim:
    outcome: Outcome = "pass" if found <= asked else "fail"
    return Claim(text, f"at most {format_percent(asked)}", format_percent(found), outcome)


def _at_least(text: str, asked: float, found: float) -> Claim:
    outcome: Outcome = "pass" if found >= asked else "fail"
    return Claim(text, f"at least {format_percent(asked)}", format_percent(found), outcome)
