"""The first table of a page: each setting in one row, and who wins what at equal work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rmtscale.report.verdict import NOT_MEASURED, Duel, End, Verdict
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
    return Row(
        verdict.group.name,
        _end_words(ends["full"]),
        _end_words(ends["rmt"]),
        _result(memory),
        _result(time),
    )


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


def _result(contest: Duel | None) -> Result:
    if contest is None or contest.longest is None:
        return Result("not compared", "unknown")
    tokens = contest.longest
    ratio = f"{contest.ratio_at(tokens)} at {format_tokens(tokens)}"
    if contest.wins[tokens]:
        return Result(f"RMT wins, {ratio}", "won")
    if tokens in contest.losses:
        return Result(f"full attention wins, {ratio}", "lost")
    return Result(f"open, {ratio}", "open")
