"""Tables of a pretrained decoder: losses, memory against none, and what a training took.

Each fits into a terminal of 80 columns: what all its columns or rows share is said beside it, and
differences are in thousandths of a bit per byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

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
from rmtscale.study.figures.pretrained_decoder.names import kinds, names_beside, short_names
from rmtscale.study.records.clusters import Interval, bits_interval
from rmtscale.study.records.language import UNTOUCHED, LanguageModel, LanguageRecord
from rmtscale.units import (
    format_bits_per_byte,
    format_bytes,
    format_count,
    format_flops,
    format_seconds,
    format_thousandths,
    format_tokens,
)


def gains_tables(ways: Sequence[InputSize]) -> list[Table]:
    """Tabulates memory less none, by segments read: a table for each kind of weights and size of
    memory, a column for each way to train it."""
    tables = []
    for kind, own in kinds(ways).items():
        rows = _by_segments([gains(way) for way in own])
        if not rows:
            continue  # nothing to hold it against
        # Of one kind, all have the same models without memory.
        true = [
            f"{format_tokens(context)} tokens {_cell(gain).text}"
            for context, gain in context_gains(own[0]).items()
        ]
        names = short_names(own)
        notes = [f"True context: {', '.join(true)}."] if true else []
        notes += _more_seeds(names, [len(_seeds(way) & set(way.own)) for way in own])
        tables.append(Table("gains", kind, ("read", *names), rows, " ".join(notes)))
    return tables


def sinks_table(pairs: Pairs) -> Table:
    """Tabulates memory with a sink less the same without, a column for each way of training."""
    return _pairs_table(pairs, "sinks", "A sink token against none")


def repeats_table(pairs: Pairs) -> Table:
    """Tabulates memory trained on repeated text less the same without, by ways of training."""
    return _pairs_table(pairs, "repeats", "Repeated text against none")


def _pairs_table(pairs: Pairs, name: str, title: str) -> Table:
    rows = _by_segments([gains_over(*pair) for pair in pairs])
    names = names_beside([like for _, like in pairs])
    return Table(name, title, ("read", *names), rows)


def _by_segments(found: Sequence[Mapping[int, Interval]]) -> tuple[tuple[Cell, ...], ...]:
    """Returns a row for each number of segments read, a column for each of what was found."""
    return tuple(
        (Cell(format_tokens(count), count), *(_cell(each.get(count)) for each in found))
        for count in sorted({count for each in found for count in each})
    )


def losses_tables(ways: Sequence[InputSize]) -> list[Table]:
    """Tabulates losses as Table 1 does, all of one input size: a table for each kind of weights and
    size of memory.

    A row for none, for each way to train memory, and for true contexts; a column for one segment,
    two and as many as were trained on.
    """
    tables = []
    for kind, own in kinds(ways).items():
        counts = sorted({count for way in own for count in (1, 2, way.most_trained or 1)})
        read: dict[str, Mapping[int, Mapping[int, LanguageRecord]]] = {}
        if own[0].own:
            read["no memory"] = {1: own[0].own}
        for way, name in zip(own, short_names(own), strict=True):
            runs = way.rmt[way.most_trained or 0]
            read[name] = {
                count: {seed: curve[count] for seed, curve in runs.items()}
                for count in shared_counts(runs)
            }
        for context, records in own[0].larger_contexts.items():
            read[f"no memory, context {format_tokens(context)}"] = {1: records}
        many = [max(map(len, by_count.values()), default=0) for by_count in read.values()]
        rows = [_losses(name, counts, by_count) for name, by_count in read.items()]
        parameters = format_count(own[0].with_memory[0].model.trainable_parameters, 3)
        columns = (
            "read with",
            *(f"{format_tokens(count)} segment{'s' if count > 1 else ''}" for count in counts),
        )
        title = f"{kind}, {parameters} parameters trained"
        note = " ".join(_more_seeds([*read], many))
        tables.append(Table("losses", title, columns, tuple(rows), note))
    return tables


def _seeds(way: InputSize) -> set[int]:
    """Returns the seeds of the longest training with memory."""
    return set(way.rmt[way.most_trained or 0])


def _more_seeds(names: Sequence[str], many: Sequence[int]) -> list[str]:
    """Says which means are of more seeds than others beside them, a sentence for each number."""
    fewest = min((count for count in many if count), default=0)
    found: dict[int, list[str]] = {}
    for name, count in zip(names, many, strict=True):
        if count > fewest:
            found.setdefault(count, []).append(name)
    return [
        f"Of {format_tokens(count)} seeds, others of {format_tokens(fewest)}: {'; '.join(each)}."
        for count, each in sorted(found.items())
    ]


def _losses(
    name: str, counts: Sequence[int], read: Mapping[int, Mapping[int, LanguageRecord]]
) -> tuple[Cell, ...]:
    return (Cell(name), *(_loss(read.get(count, {})) for count in counts))


def curriculum_table(pairs: Sequence[Ways]) -> Table:
    """Tabulates mixing less fixed by segments read, a column for each input size."""
    mixed = [pair["mixing"] for pair in pairs]
    rows = _by_segments([mixing_gains(pair) for pair in pairs])
    columns = ("read", *(size_name(way, mixed) for way in mixed))
    return Table("curricula", "Mixed lengths against fixed ones", columns, rows)


def trainings_table(ways: Sequence[InputSize]) -> Table:
    """Tabulates what trainings took, a row for each one of the first seed.

    What begins all their names and, where they agree, their steps stand in the note.
    """
    models, seen, more = [], set(), False
    for way in ways:
        first = min(record.model.seed for record in way.records)
        more |= any(record.model.seed != first for record in way.records)
        for record in way.records:
            model = record.model
            if model.name in seen or model.seed != first:
                continue
            seen.add(model.name)
            models.append(model)
    start = _start([model.name for model in models])
    trained = {one.trained_steps for one in models if one.trained_weights != UNTOUCHED}
    apart = len(trained) > 1
    columns = ("training", *(["steps"] if apart else []), "tokens", "FLOPs", "time", "peak memory")
    note = (
        "Tokens are those read, the peak is that of allocated memory. Times are of the trainings "
        "as they ran: comparable only where they ran one at a time on a GPU."
    )
    if trained and not apart:
        still = any(one.trained_weights == UNTOUCHED for one in models)
        but = ", but for those of models that stay as they were" if still else ""
        note = f"All took {format_tokens(min(trained))} steps{but}. {note}"
    if more:
        note = f"Of several seeds the first stands here. {note}"
    if start:
        note = f"Names begin with `{start}`. {note}"
    rows = tuple(_training_row(model, len(start), steps=apart) for model in models)
    return Table("trainings", "Trainings", columns, rows, note)


def _start(names: Sequence[str]) -> str:
    """Returns the words that all names begin with, each with its hyphen."""
    words = zip(*(name.split("-")[:-1] for name in names), strict=False)
    shared = takewhile(lambda place: len(set(place)) == 1, words)
    return "".join(f"{place[0]}-" for place in shared)


def _training_row(model: LanguageModel, start: int, *, steps: bool) -> tuple[Cell, ...]:
    flops, peak = model.trained_flops, model.trained_peak_bytes
    return (
        Cell(f"`{model.name[start:]}`"),
        *([Cell(format_tokens(model.trained_steps), model.trained_steps)] if steps else []),
        Cell(format_count(model.trained_tokens, 3), model.trained_tokens),
        Cell(UNKNOWN if flops is None else format_flops(flops), flops),
        Cell(format_seconds(model.trained_seconds), model.trained_seconds),
        Cell(UNKNOWN if peak is None else format_bytes(peak, 3), peak),
    )


def mixing_gains(pair: Ways) -> dict[int, Interval]:
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
    half = format_bits_per_byte((bits.high - bits.low) / 2)
    return Cell(f"{format_bits_per_byte(bits.mean)} ± {half}", bits.mean)


def _cell(interval: Interval | None) -> Cell:
    if interval is None:
        return Cell("")
    return Cell(format_thousandths(interval.mean, interval.low, interval.high), interval.mean)
