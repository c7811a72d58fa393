"""Tables of a pretrained decoder: losses, memory against none, and what a training took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rmtscale.report.tables import UNKNOWN, Cell, Table
from rmtscale.study.figures.figure_12.claims import Ways
from rmtscale.study.figures.language.groups import (
    InputSize,
    mean_difference,
    mean_part,
    shared_counts,
)
from rmtscale.study.figures.language.lines import size_name
from rmtscale.study.figures.pretrained_decoder.claims import (
    Pairs,
    context_gains,
    gains,
    gains_over,
)
from rmtscale.study.figures.pretrained_decoder.drawing import way_name
from rmtscale.study.records.clusters import Interval, bits_interval
from rmtscale.study.records.language import UNTOUCHED, LanguageRecord
from rmtscale.units import (
    format_bits_per_byte,
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
        "Bits per byte above those of the same model without memory, which has as many positions "
        "and the same weights trained for as many steps; means over seeds, 95 % intervals over "
        "documents."
    )
    columns = ("segments read", *map(way_name, ways))
    return Table("gains", "Memory against none", columns, tuple(rows), note)


def sinks_table(pairs: Pairs) -> Table:
    """Tabulates memory with a sink less the same without, a column for each way of training."""
    note = (
        "Bits per byte of memory with a sink token less those of the same memory without, means "
        "over seeds, 95 % intervals over documents."
    )
    return _pairs_table(pairs, "sinks", "A sink token against none", note)


def repeats_table(pairs: Pairs) -> Table:
    """Tabulates memory trained on repeated text less the same without, by ways of training."""
    note = (
        "Bits per byte of memory trained on repeated text less those of the same memory trained on "
        "ordinary text alone for as many steps, both read on ordinary text; means over seeds, 95 % "
        "intervals over documents."
    )
    return _pairs_table(pairs, "repeats", "Repeated text against none", note)


def _pairs_table(pairs: Pairs, name: str, title: str, note: str) -> Table:
    found = [gains_over(*pair) for pair in pairs]
    rows = [
        (Cell(format_tokens(count), count), *(_cell(each.get(count)) for each in found))
        for count in sorted({count for each in found for count in each})
    ]
    likes = [like for _, like in pairs]
    sizes = {like.segment_size for like in likes}
    names = [way_name(like) if len(sizes) == 1 else size_name(like, likes) for like in likes]
    return Table(name, title, ("segments read", *names), tuple(rows), note)


def losses_table(ways: Sequence[InputSize]) -> Table:
    """Tabulates losses as Table 1 does: a row for each way of training, all of one input size.

    A column for none, for one segment, two and as many as were trained on, and for true contexts.
    """
    counts = sorted({count for way in ways for count in (1, 2, way.most_trained or 1)})
    contexts = sorted({context for way in ways for context in way.larger_contexts})
    rows = []
    for way in ways:
        runs = way.rmt[way.most_trained or 0]
        trainable = way.with_memory[0].model.trainable_parameters
        cells = [Cell(way_name(way)), Cell(format_count(trainable, 3), trainable), _loss(way.own)]
        for count in counts:
            known = count in shared_counts(runs)
            read = {seed: curve[count] for seed, curve in runs.items()} if known else {}
            cells.append(_loss(read))
        cells += [_loss(way.larger_contexts.get(context, {})) for context in contexts]
        rows.append(tuple(cells))
    columns = (
        "trained",
        "parameters trained",
        "no memory",
        *(f"{format_tokens(count)} segment{'s' if count > 1 else ''}" for count in counts),
        *(f"true context, {format_tokens(context)} tokens" for context in contexts),
    )
    note = (
        "Bits per byte, means over seeds, 95 % intervals over documents. The models without memory "
        "and with true context had the same weights trained, except for the memory; where memory "
        "alone is trained, they are the pretrained model as it was."
    )
    return Table("losses", "Losses", columns, tuple(rows), note)


def curriculum_table(pairs: Sequence[Ways]) -> Table:
    """Tabulates mixing less fixed by segments read, a column for each input size."""
    mixed = [pair["mixing"] for pair in pairs]
    found = [_mixing_gains(pair) for pair in pairs]
    rows = [
        (Cell(format_tokens(count), count), *(_cell(each.get(count)) for each in found))
        for count in sorted({count for each in found for count in each})
    ]
    columns = ("segments read", *(size_name(way, mixed) for way in mixed))
    note = (
        "Bits per byte of training on mixed lengths less those of training on fixed ones, means "
        "over seeds, 95 % intervals over documents."
    )
    return Table("curricula", "Mixed lengths against fixed ones", columns, tuple(rows), note)


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
    # A step that changes nothing still has something to train.
    trainable, untouched = model.trainable_parameters, model.trained_weights == UNTOUCHED
    return (
        Cell(f"`{model.name}`"),
        Cell(model.trained_weights or UNKNOWN),
        Cell("none" if untouched else format_count(trainable, 3), 0 if untouched else trainable),
        Cell(format_tokens(model.trained_steps), model.trained_steps),
        Cell(format_count(model.trained_tokens, 3), model.trained_tokens),
        Cell(UNKNOWN if flops is None else format_flops(flops), flops),
        Cell(format_seconds(model.trained_seconds), model.trained_seconds),
        Cell(UNKNOWN if peak is None else format_bytes(peak, 3), peak),
    )


def _mixing_gains(pair: Ways) -> dict[int, Interval]:
    """Computes mixing less fixed by segments read, of the longest training."""
    most = pair["mixing"].most_trained or 0
    mixing, fixed = pair["mixing"].rmt[most], pair["fixed"].rmt.get(most, {})
    counts = sorted({count for curve in mixing.values() for count in curve})
    gaps = {
        count: mean_difference(
            {seed: curve[count] for seed, curve in mixing.items() if count in curve},
            {seed: curve[count] for seed, curve in fixed.items() if count in curve},
        )
        for count in counts
    }
    return {count: gap for count, gap in gaps.items() if gap is not None}


def _loss(records: Mapping[int, LanguageRecord]) -> Cell:
    if not records:
        return Cell("")
    bits = bits_interval(mean_part([record.whole for record in records.values()]))
    ends = f"({format_bits_per_byte(bits.low)} to {format_bits_per_byte(bits.high)})"
    return Cell(f"{format_bits_per_byte(bits.mean)} {ends}", bits.mean)


def _cell(interval: Interval | None) -> Cell:
    if interval is None:
        return Cell("")
    return Cell(format_difference(interval.mean, interval.low, interval.high), interval.mean)
