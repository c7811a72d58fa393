"""The first table of a page: each setting in one row, and who wins what at equal work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rmtscale.report.repeat import command
from rmtscale.report.verdict import (
    NOT_MEASURED,
    Duel,
    End,
    Verdict,
    with_work_of,
    work_difference,
)
from rmtscale.units import format_tokens


@dataclass(frozen=True, slots=True)
class Result:
    """One contest in words, and its colour."""

    words: str
    outcome: str
    """``won`` or ``lost`` by RMT, ``open`` where noise hides it, ``unknown`` where not compared."""


@dataclass(frozen=True, slots=True)
class Row:
    """One setting."""

    setting: str
    full: str
    """Full attention that goes farthest, and where it ends."""
    rmt: str
    """The best RMT, and where it ends."""
    memory: Result
    time: Result
    command: str = ""
    """Where nothing is compared as full attention did other work: what would measure its equal."""


def summary(verdicts: Sequence[Verdict]) -> list[Row]:
    """Returns a row for each setting, in the order of the report.

    The best RMT is the one that saves the most in memory and time together, as a product of the two
    ratios, at the longest length that both ran; without a contest, the one that goes farthest.
    """
    return [_row(verdict) for verdict in verdicts]


def lead(verdicts: Sequence[Verdict]) -> str:
    """Counts in one sentence in how many settings RMT wins, loses, or is not told apart."""
    rows = summary(verdicts)
    parts = []
    for noun, results in (
        ("memory", [row.memory for row in rows]),
        ("time", [row.time for row in rows]),
    ):
        outcomes = [result.outcome for result in results]
        known = len(outcomes) - outcomes.count("unknown")
        if known:
            said = f"{noun} in {outcomes.count('won')} of {known}"
            undecided = outcomes.count("open")
            parts.append(f"{said} ({undecided} open)" if undecided else said)
    if not parts:
        return f"RMT against full attention of equal work is {NOT_MEASURED} in any setting."
    return f"At the longest length that both ran, the best RMT wins {', '.join(parts)} settings."


def _row(verdict: Verdict) -> Row:
    best = max(verdict.duels, key=_saving, default=None)
    ends = {method: _farthest(verdict, method) for method in ("full", "rmt")}
    if best is not None and best[0].longest is not None:
        own = [end for end in verdict.ends if end.series is best[0].rmt]
        ends["rmt"] = own[0] if own else ends["rmt"]
    memory, time = best or (None, None)
    other = _other_work(verdict)
    why = f"not compared: full attention {other[0].difference}" if other else "not compared"
    results = _result(memory, why), _result(time, why)
    unknown = all(result.outcome == "unknown" for result in results)
    return Row(
        verdict.group.name,
        _end_words(ends["full"]),
        _end_words(ends["rmt"]),
        *results,
        _equal_work(verdict, *other) if unknown and other else "",
    )


def _other_work(verdict: Verdict) -> tuple[Duel, Duel] | None:
    """The pair of other work that goes farthest; None where there is none."""
    return max(
        (pair for pair in verdict.unequal if pair[0].longest or pair[1].longest),
        key=lambda pair: max(contest.longest or 0 for contest in pair),
        default=None,
    )


def _equal_work(verdict: Verdict, memory: Duel, _time: Duel) -> str:
    """Returns what measures full attention with the work of an RMT that it was compared with."""
    rmt = memory.rmt
    full = [
        one
        for one in verdict.group.of("full")
        if work_difference(one.point, rmt.point) == memory.difference
    ]
    alike = [one for one in full if one.point.attention == rmt.point.attention]
    return command(with_work_of((alike or full)[0], rmt), "again.jsonl")


def _saving(pair: tuple[Duel, Duel]) -> tuple[int, float]:
    memory, time = pair
    if memory.longest is None or time.longest is None:
        return 0, 0.0
    return time.longest, memory.ratios[memory.longest] * time.ratios[time.longest]


def _farthest(verdict: Verdict, method: str) -> End | None:
    mine = [end for end in verdict.ends if end.series.method == method]
    return max(mine, key=lambda end: end.last_tokens or 0, default=None)


def _end_words(end: End | None) -> str:
    return NOT_MEASURED if end is None else f"{end.series.label}: {end.words()}"


def _result(contest: Duel | None, why_not: str) -> Result:
    if contest is None or contest.longest is None:
        return Result(why_not, "unknown")
    tokens = contest.longest
    ratio = f"{contest.ratio_at(tokens)} at {format_tokens(tokens)}"
    if contest.wins[tokens]:
        return Result(f"RMT wins, {ratio}", "won")
    if tokens in contest.losses:
        return Result(f"full attention wins, {ratio}", "lost")
    return Result(f"open, {ratio}", "open")
