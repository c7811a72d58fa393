"""Tables of measured records: each series by length, measured beside predicted. Text only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rmtscale.records.point import Point
from rmtscale.records.record import Prediction, Record
from rmtscale.report.predictions import stored_seconds
from rmtscale.report.quantities import CEILING, TIME
from rmtscale.units import (
    format_bytes,
    format_flops,
    format_percent,
    format_rate,
    format_seconds,
    format_tokens,
)

UNKNOWN = "-"


@dataclass(frozen=True, slots=True)
class SeriesTable:
    """One series: what it is, its rows by length, and what has to be said about it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()


def measured_tables(records: Iterable[Record]) -> list[SeriesTable]:
    """Makes a table for each series, in the order in which they first appear."""
    columns = ("tokens", "step", "IQR", "predicted", "memory", "predicted", "error", "ceiling")
    return [
        SeriesTable(
            first.point.title(),
            columns,
            tuple(_measured_row(record) for record in series),
            tuple(_remarks(series)),
        )
        for first, series in _by_series(records)
    ]


def predicted_tables(
    grid: Iterable[tuple[Point, Prediction, bool | None]],
) -> list[SeriesTable]:
    """Makes the tables before anything is measured: ``(point, prediction, whether it fits)``."""
    groups: dict[str, list[tuple[Point, Prediction, bool | None]]] = {}
    for entry in grid:
        groups.setdefault(entry[0].series, []).append(entry)
    tables = []
    for group in groups.values():
        rows = []
        for point, predicted, fit in sorted(group, key=lambda entry: entry[0].tokens):
            if point.replicate:
                continue
            rows.append(
                (
                    format_tokens(point.tokens),
                    format_flops(predicted.flops),
                    UNKNOWN if predicted.peak_bytes is None else format_bytes(predicted.peak_bytes),
                    TIME.show_span(stored_seconds(predicted)),
                    {True: "yes", False: "no", None: UNKNOWN}[fit],
                )
            )
        tables.append(
            SeriesTable(
                group[0][0].title(), ("tokens", "FLOPs", "memory", "time", "fits"), tuple(rows)
            )
        )
    return tables


def noise(records: Iterable[Record]) -> list[str]:
    """Says by how much the halves of each A/A pair differ: the same point, measured twice."""
    by_key = {record.point.key: record for record in records}
    once = {
        (record.point.series, record.point.tokens): record
        for record in by_key.values()
        if not record.point.replicate
    }
    sentences = []
    for second in by_key.values():
        if not second.point.replicate:
            continue
        first = once.get((second.point.series, second.point.tokens))
        if first is None:
            continue
        a, b = first.measured.step_seconds, second.measured.step_seconds
        c, d = (
            record.measured.memory and record.measured.memory.model_bytes
            for record in (first, second)
        )
        if a and b and c and d:
            sentences.append(
                f"A/A: {first.point.title()}, {format_tokens(first.point.tokens)} tokens, measured "
                f"twice: time {format_percent(b / a - 1, signed=True)}, memory "
                f"{format_percent(d / c - 1, signed=True)}."
            )
    return sentences


def summary(record: Record) -> str:
    """Describes one record in a few words, for a line of progress: ``45.3 ms, 512 MiB``."""
    measured = record.measured
    if measured.outcome != "ok":
        return f"{measured.outcome}: {measured.error}"
    row = _measured_row(record)
    return f"{row[1]}, {row[4]} (predicted {row[5]})"


def _by_series(records: Iterable[Record]) -> list[tuple[Record, list[Record]]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        if not record.point.replicate:
            groups.setdefault(record.point.series, []).append(record)
    return [
        (group[0], sorted(group, key=lambda record: record.point.tokens))
        for group in groups.values()
    ]


def _measured_row(record: Record) -> tuple[str, ...]:
    measured, predicted = record.measured, record.predicted
    clock = measured.event_time or measured.wall_time
    size = None if measured.memory is None else measured.memory.model_bytes
    expected = predicted.peak_bytes
    # What is resident on a CPU is no allocator's peak, which is predicted.
    error = ""
    if size and expected is not None and record.point.device == "cuda":
        error = format_percent(expected / size - 1, signed=True)
    return (
        format_tokens(record.point.tokens),
        measured.outcome if clock is None else format_seconds(clock.median_seconds),
        "" if clock is None else format_percent(clock.iqr_seconds / clock.median_seconds),
        TIME.show_span(stored_seconds(predicted)),
        UNKNOWN if size is None else format_bytes(size),
        UNKNOWN if expected is None else format_bytes(expected),
        error,
        "" if (share := CEILING.read(record)) is None else CEILING.show(share),
    )


def _remarks(series: Sequence[Record]) -> Iterable[str]:
    for record in series:
        measured = record.measured
        if measured.outcome != "ok":
            where = f" in {measured.stage}" if measured.stage else ""
            yield (
                f"{format_tokens(record.point.tokens)} tokens: {measured.outcome}{where}: "
                f"{measured.error}"
            )
    raised = [record.point.tokens for record in series if record.point.raised_positions]
    if raised:
        yield (
            f"From {format_tokens(min(raised))} tokens on with a longer position table than "
            f"{series[0].point.model.name} has (random rows)."
        )
    kernels = {
        record.measured.attention_kernel
        for record in series
        if record.measured.attention_kernel is not None
    }
    if kernels:
        yield f"Attention ran: {', '.join(sorted(kernels))}."
    ceilings = [
        record.measured.matmul_ceiling_flops_per_second
        for record in series
        if record.measured.matmul_ceiling_flops_per_second is not None
    ]
    if ceilings:
        yield f"Matmul ceiling here: {format_rate(max(ceilings))}."
