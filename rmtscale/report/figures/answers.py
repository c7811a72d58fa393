"""Answers of a panel and of a whole picture in one line: the same numbers as the verdict's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rmtscale.report.figures.panels import Panel
from rmtscale.report.quantities import MEMORY, Quantity
from rmtscale.report.series import Group, Series
from rmtscale.report.style import short_tokens
from rmtscale.report.verdict import Duel, duel

_WORDS = {MEMORY.name: ("memory", "needs less memory")}
_TIME_WORDS = ("time", "is faster")


def short_name(series: Series) -> str:
    """Returns ``full`` or ``RMT 500``: without what a title says."""
    return series.label.split(", ")[0]


def answer(panel: Panel, quantity: Quantity) -> str:
    """Says what the best RMT of a panel saves against the best full attention of its setting."""
    best = _best(duel(panel.group, rmt, quantity) for rmt in panel.of("rmt"))
    if best is None or best.longest is None:
        return "RMT and full attention of equal work: no length in common"
    noun = _WORDS.get(quantity.name, _TIME_WORDS)[0]
    drawn = duel(replace(panel.group, series=panel.series), best.rmt, quantity)
    rival = "full attention"
    if drawn.ratios.get(best.longest) != best.ratios[best.longest]:
        rival = "the best full attention, not in this panel,"
    return (
        f"at {short_tokens(best.longest)} tokens {rival} takes "
        f"{best.ratio_at(best.longest)} the {noun} of {short_name(best.rmt)}"
    )


def headline(groups: Sequence[Group], quantity: Quantity) -> str:
    """Says in how many settings RMT wins in one quantity, at the longest length that both ran."""
    noun, wins = _WORDS.get(quantity.name, _TIME_WORDS)
    compared: list[tuple[Duel, float]] = []
    for group in groups:
        best = _best(duel(group, rmt, quantity) for rmt in group.of("rmt"))
        if best is not None and best.longest is not None:
            compared.append((best, best.ratios[best.longest]))
    if not compared:
        return f"The {noun} of RMT and of full attention of equal work: no length in common"
    if len(compared) == 1:
        only, tokens = compared[0][0], compared[0][0].longest or 0
        return (
            f"At {short_tokens(tokens)} tokens full attention takes {only.ratio_at(tokens)} the "
            f"{noun} of {short_name(only.rmt)}"
        )
    won = [pair for pair in compared if pair[0].wins[pair[0].longest or 0]]
    where = "At the longest length that both ran, RMT"
    if not won:
        least = max(ratio for _, ratio in compared)
        return f"{where} {wins} in none of {len(compared)} settings: at best x{least:.3g}"
    most, ratio = max(won, key=lambda pair: pair[1])
    return (
        f"{where} {wins} in {len(won)} of {len(compared)} settings: full attention takes up to "
        f"x{ratio:.3g} the {noun}, at "
        f"{short_tokens(most.longest or 0)} tokens"
    )


def _best(contests: Iterable[Duel]) -> Duel | None:
    """The one that saves the most at the longest length."""
    compared = [contest for contest in contests if contest.longest is not None]
    return max(
        compared,
        key=lambda one: (one.longest or 0, one.ratios[one.longest or 0]),
        default=None,
    )
