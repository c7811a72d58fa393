"""Tables of a report: cells that are shown, and what they are sorted by; as Markdown and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rmtscale.records.record import Record
from rmtscale.report.compare import Comparison
from rmtscale.report.figures.predicted import residuals
from rmtscale.report.fits import fit_power
from rmtscale.report.quantities import (
    CEILING,
    ENERGY_PER_TOKEN,
    MEMORY,
    TIME,
    TIME_PER_TOKEN,
    Quantity,
    predicted_words,
)
from rmtscale.report.series import Group, Series
from rmtscale.report.verdict import OUTCOMES, Verdict
from rmtscale.steps import steps
from rmtscale.tabular import markdown_table
from rmtscale.units import format_percent, format_ratio, format_tokens

UNKNOWN = "-"


class Cell(NamedTuple):
    """A cell: its text, and the number that it is sorted by (else by the text)."""

    text: str
    number: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One table; all its cells are text for people."""

    name: str
    """The name of its anchor in a page."""
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """Returns the table as Markdown, for pasting into an issue."""
        table = markdown_table(self.columns, ([cell.text for cell in row] for row in self.rows))
        return "\n".join([table, *(["", self.note] if self.note else [])])


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Makes the table of wins: from which length on each RMT wins, and by how much."""
    rows = []
    for verdict in verdicts:
        for memory, time in verdict.duels:
            rows.append(
                (
                    Cell(verdict.group.name),
                    Cell(memory.rmt.label),
                    *(
                        Cell(contest.from_words(), contest.better_from)
                        for contest in (memory, time)
                    ),
                    *(
                        Cell(
                            contest.ratio_words(),
                            contest.ratios[contest.longest] if contest.longest else None,
                        )
                        for contest in (memory, time)
                    ),
                )
            )
    columns = (
        "setting",
        "RMT",
        "smaller from, tokens",
        "faster from, tokens",
        "memory, full / RMT",
        "time, full / RMT",
    )
    note = (
        "Against the best full attention of the setting that does equal work, at the longest "
        "length that both ran."
    )
    return Table("wins", "Where RMT wins", columns, tuple(rows), note)


def unequal_table(verdicts: Sequence[Verdict]) -> Table:
    """Makes the table of pairs of unequal work, which no sentence compares."""
    rows = [
        (
            Cell(verdict.group.name),
            Cell(memory.rmt.label),
            Cell(memory.difference),
            *(
                Cell(
                    contest.ratio_words(),
                    contest.ratios[contest.longest] if contest.longest else None,
                )
                for contest in (memory, time)
            ),
        )
        for verdict in verdicts
        for memory, time in verdict.unequal
    ]
    columns = ("setting", "RMT", "full attention", "memory, full / RMT", "time, full / RMT")
    note = "A part of each ratio is the other work, not the recurrence."
    return Table("unequal", "Pairs of unequal work", columns, tuple(rows), note)


def ends_table(verdicts: Sequence[Verdict]) -> Table:
    """Makes the table of ends: how far each series went."""
    rows = [
        (
            Cell(verdict.group.name),
            Cell(end.series.label),
            _tokens(end.last_tokens),
            Cell(end.outcome or UNKNOWN),
            _tokens(end.failed_tokens),
        )
        for verdict in verdicts
        for end in verdict.ends
    ]
    columns = ("setting", "series", "longest that ran", "then", "at")
    return Table("ends", "Where each series ends", columns, tuple(rows))


def points_table(groups: Sequence[Group]) -> Table:
    """Makes the table of all points: measured numbers beside predicted ones."""
    every = [(group, series) for group in groups for series in group.series]
    rows = []
    for group, series in steps(every, "predicting", weigh=lambda pair: len(pair[1].records)):
        errors = residuals(series, MEMORY)
        rows += [
            _point_row(group, series, record, errors.get(record.point.tokens))
            for record in series.records
        ]
    columns = (
        "setting",
        "series",
        "tokens",
        "step",
        "IQR",
        "step, predicted",
        "before",
        "memory",
        "memory, predicted",
        "before",
        "error",
        "ceiling",
        "per token",
        "energy per token",
        "outcome",
    )
    note = (
        "Predicted: by the formulas of today; before: what the record keeps from before it was "
        "measured, where that reads otherwise."
    )
    return Table("points", "Points", columns, tuple(rows), note)


def exponents_table(groups: Sequence[Group]) -> Table:
    """Makes the table of fitted exponents."""
    rows = []
    for group in groups:
        for series in group.series:
            for quantity in (TIME, MEMORY):
                fit = fit_power(series.values(quantity))
                if fit is not None:
                    rows.append(
                        (
                            Cell(group.name),
                            Cell(series.label),
                            Cell(quantity.name),
                            Cell(f"{fit.exponent:.2f}", fit.exponent),
                            Cell(f"{fit.low:.2f} to {fit.high:.2f}", fit.low),
                            _tokens(fit.first_tokens),
                            Cell(str(fit.points), fit.points),
                            Cell(format_percent(fit.worst), fit.worst),
                        )
                    )
    columns = (
        "setting",
        "series",
        "quantity",
        "exponent",
        "95 % interval",
        "from, tokens",
        "points",
        "farthest point",
    )
    return Table("fits", "Exponents", columns, tuple(rows))


def provenance_table(
    groups: Sequence[Group], environment_names: dict[int, str], sources: dict[int, str]
) -> Table:
    """Makes the table of origins: file, time, environment, kernel, clocks and failures."""
    rows = []
    for group in groups:
        for series in group.series:
            for record in series.records:
                measured, protocol = record.measured, record.protocol
                state = measured.environment.after
                slowed = None if state is None else state.throttle_reasons
                clock = measured.event_time or measured.wall_time
                rows.append(
                    (
                        Cell(group.name),
                        Cell(series.label),
                        _tokens(record.point.tokens),
                        Cell(record.measured_at[:19].replace("T", " ")),
                        Cell(sources[id(record)]),
                        Cell(environment_names[id(record)]),
                        Cell(measured.attention_kernel or UNKNOWN),
                        Cell(f"{protocol.warmup_steps} + {len(clock.seconds) if clock else 0}"),
                        Cell(UNKNOWN if slowed is None else ", ".join(slowed) or "nothing"),
                        Cell(_what_was_wrong(record)),
                    )
                )
    columns = (
        "setting",
        "series",
        "tokens",
        "measured at (UTC)",
        "file",
        "environment",
        "attention ran",
        "steps: warm-up + timed",
        "slowed by",
        "remark",
    )
    return Table("provenance", "Where each point comes from", columns, tuple(rows))


def comparison_table(comparison: Comparison, names: tuple[str, str]) -> Table:
    """Makes the table of two runs, point by point."""
    rows = []
    for pair in comparison.pairs:
        for difference in pair.differences:
            rows.append(
                (
                    Cell(pair.first.point.title()),
                    _tokens(pair.first.point.tokens),
                    Cell(difference.quantity.name),
                    *(
                        _shown(difference.quantity, value)
                        for value in (difference.first, difference.second)
                    ),
                    Cell(
                        UNKNOWN if difference.ratio is None else format_ratio(difference.ratio),
                        difference.ratio,
                    ),
                    Cell(difference.words()),
                )
            )
    columns = ("series", "tokens", "quantity", f"A: {names[0]}", f"B: {names[1]}", "B / A", "noise")
    alone = [
        f"{len(only)} points are only in {which}."
        for which, only in (("A", comparison.only_first), ("B", comparison.only_second))
        if only
    ]
    noise = [
        f"A/A pairs, {quantity}: A {_share(a)}, B {_share(b)}."
        for quantity, (a, b) in comparison.noise.items()
    ]
    note = " ".join(
        [
            "Outside noise: more than either run's A/A pair and, for times, quartiles apart.",
            *noise,
            *alone,
        ]
    )
    return Table("comparison", "A against B", columns, tuple(rows), note)


def comparison_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Returns the comparison as plain numbers."""
    rows = []
    for pair in comparison.pairs:
        row = {key: pair.first.to_row()[key] for key in _IDENTITY}
        for difference in pair.differences:
            key = difference.quantity.key
            row |= {
                f"{key}_a": difference.first,
                f"{key}_b": difference.second,
                f"{key}_ratio": difference.ratio,
                f"{key}_outside_noise": difference.outside_noise,
            }
        rows.append(row)
    return rows


_IDENTITY = (
    "model",
    "method",
    "tokens",
    "segment_size",
    "memory_tokens",
    "mode",
    "batch_size",
    "dtype",
    "attention",
)


def _point_row(
    group: Group, series: Series, record: Record, error: float | None
) -> tuple[Cell, ...]:
    tokens, outcome = record.point.tokens, record.measured.outcome
    seconds = TIME.read(record)
    spread = None if TIME.spread is None else TIME.spread(record)
    iqr = (spread[1] - spread[0]) / seconds if spread and seconds else None
    return (
        Cell(group.name),
        Cell(series.label),
        _tokens(tokens),
        _shown(TIME, seconds),
        Cell(UNKNOWN if iqr is None else format_percent(iqr), iqr),
        *_predicted(TIME, record),
        _shown(MEMORY, MEMORY.read(record)),
        *_predicted(MEMORY, record),
        Cell(UNKNOWN if error is None else format_percent(error, signed=True), error),
        _shown(CEILING, CEILING.read(record)),
        _shown(TIME_PER_TOKEN, TIME_PER_TOKEN.read(record)),
        _shown(ENERGY_PER_TOKEN, ENERGY_PER_TOKEN.read(record)),
        Cell(OUTCOMES.get(outcome, outcome)),
    )


def _predicted(quantity: Quantity, record: Record) -> tuple[Cell, Cell]:
    """Returns today's prediction, and the one before the measurement where it reads otherwise."""
    now, before = predicted_words(quantity, record)
    span = None if quantity.predicted is None else quantity.predicted(record)
    number = None if span is None else span.likely or span.least
    return Cell(now, number), Cell("same" if before == now else before)


def _what_was_wrong(record: Record) -> str:
    remarks = []
    if record.measured.outcome != "ok":
        remarks.append(record.measured.error or OUTCOMES[record.measured.outcome])
    if record.point.raised_positions:
        remarks.append(f"position table raised to {format_tokens(record.point.raised_positions)}")
    return "; ".join(remarks)


def _tokens(tokens: int | None) -> Cell:
    return Cell(UNKNOWN if tokens is None else format_tokens(tokens), tokens)


def _shown(quantity: Quantity, value: float | None) -> Cell:
    return Cell(UNKNOWN if value is None else quantity.show(value), value)


def _share(value: float | None) -> str:
    return "none" if value is None else format_percent(value)
