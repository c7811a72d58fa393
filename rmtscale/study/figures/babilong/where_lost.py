"""Where answers are lost: with distance, with later facts, or where several facts are put together.

From what evaluations note of their samples. An answer that is lost after nothing but noise has
drifted away; one that is lost where later facts came since, at equal distance, the memory had no
room for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from itertools import zip_longest
from textwrap import fill

from rmtscale.intervals import wilson_interval
from rmtscale.study.figures.babilong.runs import DEAD_BAND, VARIANTS, Run, shown
from rmtscale.study.figures.babilong.tables import OURS
from rmtscale.study.records.breakdown import FACTS_AFTER, TENTHS, Breakdown, Counted
from rmtscale.tabular import markdown_table
from rmtscale.units import format_score

NEAR_GROUPS = 2
"""Groups 0 and 1 of the segments since the deciding fact: it stood in the last segment or in the
one before."""
FAR_GROUP = 5
"""The group of 16 to 31 segments, and all beyond it."""
_ONE_SIDED = 1.96
"""Standard errors that 2.5 % lie above."""
LEARNED = 0.9
"""Below this a near fact with nothing after it is not answered reliably."""
NOT_NOTED = "No evaluation of the runs that are shown has noted it yet."
DRIFT, CAPACITY = "distance (drift)", "later facts (capacity)"
TOGETHER, NEVER = "facts in several segments", "never learned"
_EXPLAINED = (
    "Right answers of the runs that are drawn bold, in percent, with the number of samples in "
    "brackets, all lengths but 0k together. The deciding fact is the last one that the answer "
    "rests on. Near means that it stands in the last segment or the one before, far that it stands "
    "16 segments or more before the last, both with only noise since; near, facts that other facts "
    "of the story came since. In 1 segment or in several stand the facts that the answer rests on. "
    "If answers are lost where the fact is far, the memory has drifted: named where the 95 % "
    "intervals of near and far lie apart. If more are lost where other facts came since, the "
    "memory had no room; later facts and distance go together, so these are compared at equal "
    "length and distance. Facts in several segments are more frequent in longer samples and are "
    "compared length by length. Both comparisons are those of Cochran, Mantel and Haenszel, 2.5 % "
    "to one side; lengths share their stories, so that they tell more apart than they should. "
    "**Never learned** means that even near facts with nothing after them give fewer "
    f"than {format_score(LEARNED, 0)} % right answers."
)


def where_lost(runs: Sequence[Run]) -> str:
    """Writes the section of the page: causes, and the counts that they are read from.

    Tasks stand beside one another and each variant has tables of its own, so that a row is short
    enough for a terminal.
    """
    own = [run for variant in VARIANTS for run in shown(runs, variant).values()]
    noted = [(run, found) for run in own if (found := breakdowns_of(run))]
    if not noted:
        return NOT_NOTED
    together = [(run, sum_of(found)) for run, found in noted]
    parts = [
        fill(_EXPLAINED, 100, break_on_hyphens=False),
        _by_nearness(together),
        "Lost with:",
        _causes(noted),
        "By the segments since the deciding fact:",
        _by_segments(together),
        "By the story's facts after the deciding one:",
        _by_facts(together),
        "By the deciding fact's distance from the end, as a share of the sample, at the longest "
        "length:",
        _by_depth(run for run, _ in noted),
    ]
    return "\n\n".join(parts)


def breakdowns_of(run: Run) -> list[Breakdown]:
    """Lists what all lengths but 0k have noted, one entry a length."""
    return [
        record.breakdown
        for length, record in run.curve.items()
        if length != "0k" and record.breakdown is not None
    ]


def sum_of(found: Iterable[Breakdown]) -> Breakdown:
    """Adds up the breakdowns of several lengths."""
    return reduce(_sum, found)


def causes_of(noted: Sequence[Breakdown]) -> list[str]:
    """Names what answers are lost with, as far as intervals tell it.

    Args:
        noted: a breakdown for each length, at least one.
    """
    found = sum_of(noted)
    near, far = _near(found.segments_after), _far(found.segments_after)
    causes = []
    if _lies_below(far, near):
        causes.append(DRIFT)
    if _worse(pair for one in noted for pair in _at_equal_distance(one)):
        causes.append(CAPACITY)
    if _worse(map(_spanned, noted)):
        causes.append(TOGETHER)
    if near[0] and wilson_interval(near[1], near[0])[1] < LEARNED:
        causes.append(NEVER)
    return causes


_Pair = tuple[int, int]
"""Samples and right answers."""


def _causes(noted: Sequence[tuple[Run, Sequence[Breakdown]]]) -> str:
    return "\n".join(
        f"* {_name(run)}: {', '.join(causes_of(found)) or 'none told apart'}"
        for run, found in noted
    )


def _by_nearness(noted: Sequence[tuple[Run, Breakdown]]) -> str:
    names = ("near", "far", "near, facts", "1 segment", "several")
    tables: dict[str, dict[str, Sequence[str]]] = {}
    for run, found in noted:
        pairs = (
            *(_near(found.segments_after), _far(found.segments_after)),
            *(_near(found.segments_after_facts), *_spanned(found)),
        )
        tables.setdefault(OURS[run.variant], {})[run.task] = [_cell(*pair) for pair in pairs]
    return _side_by_side(tables, names)


def _by_segments(noted: Sequence[tuple[Run, Breakdown]]) -> str:
    tables: dict[str, dict[str, Sequence[str]]] = {}
    for run, found in noted:
        for since, counted in (
            ("only noise", found.segments_after),
            ("facts too", found.segments_after_facts),
        ):
            heading = f"{since} since, {OURS[run.variant]}"
            tables.setdefault(heading, {})[run.task] = _cells(_in_pairs(counted))
    most = max(len(cells) for columns in tables.values() for cells in columns.values())
    return _side_by_side(tables, [_segments(group) for group in range(most)])


def _side_by_side(tables: Mapping[str, Mapping[str, Sequence[str]]], names: Sequence[str]) -> str:
    """Writes tables with a row for each group and a column for each task.

    Args:
        tables: cells by task, by heading; a column may end before the others do.
        names: of the groups; those that no column of a table has are left out of it.
    """
    written = []
    for heading, columns in tables.items():
        rows = [list(row) for row in zip_longest(*columns.values(), fillvalue="")]
        named = [[name, *row] for name, row in zip(names, rows, strict=False)]
        written.append(markdown_table((heading, *columns), named))
    return "\n\n".join(written)


def _in_pairs(counted: Counted) -> Counted:
    """Puts two groups of segments into one, but for the first two: 0, 1, 2 to 7, 8 to 31, ..."""

    def paired(counts: tuple[int, ...]) -> tuple[int, ...]:
        pairs = (sum(counts[at : at + 2]) for at in range(2, len(counts), 2))
        return (*counts[:2], *pairs)

    return Counted(samples=paired(counted.samples), correct=paired(counted.correct))


def _segments(group: int) -> str:
    """Names a group by the numbers of segments in it."""
    if group < 2:
        return str(group)
    first = 2 * 4 ** (group - 2)
    return f"{first:,} to {4 * first - 1:,}"


def _by_facts(noted: Sequence[tuple[Run, Breakdown]]) -> str:
    groups = (*map(str, range(FACTS_AFTER - 1)), f"{FACTS_AFTER - 1} or more")
    rows = [[_name(run), *_cells(found.facts_after)] for run, found in noted]
    return markdown_table(("task", *groups), rows)


def _by_depth(runs: Iterable[Run]) -> str:
    tables: dict[str, dict[str, Sequence[str]]] = {}
    for run in runs:
        noted = {name: one.breakdown for name, one in run.curve.items() if one.breakdown}
        length, found = list(noted.items())[-1]
        columns = tables.setdefault(f"share, {OURS[run.variant]}", {})
        columns[f"{run.task}, {length}"] = _cells(found.depth)
    tenths = [f"{group / TENTHS:g} to {(group + 1) / TENTHS:g}" for group in range(TENTHS)]
    return _side_by_side(tables, tenths)


def _name(run: Run) -> str:
    return f"{run.task}, {OURS[DEAD_BAND]}" if run.variant == DEAD_BAND else run.task


def _cells(counted: Counted) -> list[str]:
    return [_cell(*pair) for pair in zip(counted.samples, counted.correct, strict=True)]


def _cell(samples: int, correct: int) -> str:
    return f"{format_score(Fraction(correct, samples), 0)} ({samples:,})" if samples else ""


def _near(counted: Counted) -> _Pair:
    return sum(counted.samples[:NEAR_GROUPS]), sum(counted.correct[:NEAR_GROUPS])


def _far(counted: Counted) -> _Pair:
    return sum(counted.samples[FAR_GROUP:]), sum(counted.correct[FAR_GROUP:])


def _spanned(found: Breakdown) -> tuple[_Pair, _Pair]:
    """Samples and right answers with all facts in one segment, and in several."""
    counted = found.segments_spanned
    return (
        (sum(counted.samples[:1]), sum(counted.correct[:1])),
        (sum(counted.samples[1:]), sum(counted.correct[1:])),
    )


def _lies_below(worse: _Pair, better: _Pair) -> bool:
    if not worse[0] or not better[0]:
        return False
    return wilson_interval(worse[1], worse[0])[1] < wilson_interval(better[1], better[0])[0]


def _at_equal_distance(found: Breakdown) -> Iterator[tuple[_Pair, _Pair]]:
    """Yields samples with only noise since the deciding fact and those with facts, by distance."""
    noise, facts = found.segments_after, found.segments_after_facts
    yield from zip(
        zip(noise.samples, noise.correct, strict=True),
        zip(facts.samples, facts.correct, strict=True),
        strict=False,  # a group that only one of them has compares nothing
    )


def _worse(strata: Iterable[tuple[_Pair, _Pair]]) -> bool:
    """Tells whether the second of each two is wrong more often, compared within each stratum.

    Source: Mantel and Haenszel 1959, without the correction for continuity.
    """
    surplus = variance = 0.0
    for (first, first_right), (second, second_right) in strata:
        samples, right = first + second, first_right + second_right
        if not first or not second or samples < 2:
            continue
        surplus += first_right - first * right / samples
        variance += first * second * right * (samples - right) / (samples**2 * (samples - 1))
    return variance > 0 and surplus > _ONE_SIDED * math.sqrt(variance)


def _sum(one: Breakdown, other: Breakdown) -> Breakdown:
    return Breakdown(
        depth=one.depth.plus(other.depth),
        facts_after=one.facts_after.plus(other.facts_after),
        segments_after=one.segments_after.plus(other.segments_after),
        segments_after_facts=one.segments_after_facts.plus(other.segments_after_facts),
        segments_spanned=one.segments_spanned.plus(other.segments_spanned),
    )
