"""Tables of a pretrained decoder: memory against none at equal reads, and what a training took."""

from __future__ import annotations

from collections.abc import Sequence

from rmtscale.report.tables import UNKNOWN, Cell, Table
from rmtscale.study.figures.language.groups import InputSize
from rmtscale.study.figures.pretrained_decoder.claims import context_gains, gains
from rmtscale.study.figures.pretrained_decoder.drawing import way_name
from rmtscale.study.records.clusters import Interval
from rmtscale.study.records.language import LanguageRecord
from rmtscale.units import (
    format_bytes,
    format_count,
    format_difference,
    format_flops,
    format_seconds,
    format_tokens,
)


def gains_table(ways: Sequence[InputSize]) -> Table:
    """Tabulates memory less none, by segments read; a column for each way of training."""
    found = [gains(way) for way in ways]
    counts = sorted({count for each in found for count in each})
    rows = [
        (Cell(format_tokens(count), count), *(_cell(each.get(count)) for each in found))
        for count in counts
    ]
    true = [context_gains(way) for way in ways]
    for context in sorted({context for each in true for context in each}):
        name = f"true context, {format_tokens(context)} tokens"
        rows.append((Cell(name), *(_cell(each.get(context)) for each in true)))
    note = (
        "Bits per byte less those of the same model without memory, with as many positions and the "
        "same weights trained for as many steps; means over seeds, 95 % intervals over documents."
    )
    columns = ("segments read", *map(way_name, ways))
    return Table("gains", "Memory against none", columns, tuple(rows), note)


def trainings_table(ways: Sequence[InputSize]) -> Table:
    """Tabulates what was trained and what it took, a row for each training of the first seed."""
    rows, seen = [], set()
    for way in ways:
        for record in way.records:
            model = record.model
            if model.name in seen or model.seed != min(one.model.seed for one in way.records):
                continue
            seen.add(model.name)
            rows.append(_training_row(record))
    columns = (
        "training",
        "what was trained",
        "parameters trained",
        "steps",
        "tokens read",
        "FLOPs",
        "time",
        "peak allocated",
    )
    note = (
        "Times are of the trainings as they ran: comparable only where they ran one at a time on a "
        "GPU."
    )
    return Table("trainings", "Trainings", columns, tuple(rows), note)


def _training_row(record: LanguageRecord) -> tuple[Cell, ...]:
    model = record.model
    flops, peak = model.trained_flops, model.trained_peak_bytes
    return (
        Cell(f"`{model.name}`"),
        Cell(model.trained_weights or UNKNOWN),
        Cell(format_count(model.trainable_parameters, 3), model.trainable_parameters),
        Cell(format_tokens(model.trained_steps), model.trained_steps),
        Cell(format_count(model.trained_tokens, 3), model.trained_tokens),
        Cell(UNKNOWN if flops is None else format_flops(flops), flops),
        Cell(format_seconds(model.trained_seconds), model.trained_seconds),
        Cell(UNKNOWN if peak is None else format_bytes(peak, 3), peak),
    )


def _cell(interval: Interval | None) -> Cell:
    if interval is None:
        return Cell("")
    return Cell(format_difference(interval.mean, interval.low, interval.high), interval.mean)
