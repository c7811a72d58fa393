"""Losses of language models as tables: by segments read, by what a token costs, of proofs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rmtscale.report.tables import UNKNOWN, Cell, Table
from rmtscale.study.figures.figure_8.cost_quality import KINDS, Choice, choices, frontier
from rmtscale.study.figures.figure_9.drawing import LAST, NAMES, NAMES_WITHOUT, Prover, worth
from rmtscale.study.figures.language.groups import InputSize, mean_over_seeds, shared_counts
from rmtscale.study.figures.language.lines import bits, context_name
from rmtscale.study.records.language import ALL, LanguageRecord
from rmtscale.units import (
    format_bits_per_byte,
    format_difference,
    format_flops,
    format_loss,
    format_perplexity,
    format_seconds,
    format_tokens,
)


def losses_table(size: InputSize) -> Table:
    """Bits per byte and perplexity, mean over seeds: a column for each training."""
    rows = []
    for count in size.counts:
        cells = [Cell(format_tokens(count), count)]
        for runs in size.rmt.values():
            read = {seed: curve[count] for seed, curve in runs.items() if count in curve}
            cells.append(_cell(read) if len(read) == len(runs) else Cell(""))
        rows.append(tuple(cells))
    said = [f"{context_name(context)}: {_cell(one).text}" for context, one in size.contexts.items()]
    note = " ".join(
        ["Bits per byte, perplexity of a token in brackets; means over seeds."]
        + [f"{'; '.join(said).capitalize()}."] * bool(said)
    )
    columns = ("segments read", *(f"trained on {trained}" for trained in size.rmt))
    return Table("losses", "Losses", columns, tuple(rows), note)


def cost_table(size: InputSize) -> Table:
    """What each way of reading costs and brings, cheapest first; who is on the frontiers."""
    found = choices(size)
    anew = [one for one in found if one.kind != KINDS[2]]
    marks = {
        "FLOPs": frontier(anew, "flops"),
        "time": frontier(anew, "seconds"),
        "FLOPs, stream": frontier(found, "flops"),
        "time, stream": frontier(found, "seconds"),
    }
    rows = [
        (
            Cell(_name(one)),
            Cell(format_flops(one.flops), one.flops),
            Cell(format_seconds(one.seconds), one.seconds),
            Cell(format_loss(one.loss_nats), one.loss_nats),
            Cell("; ".join(name for name, best in marks.items() if one in best) or "none"),
        )
        for one in sorted(found, key=lambda one: (one.flops, one.loss_nats))
    ]
    columns = (
        "read with",
        "forward FLOPs for each token scored",
        "measured time for each token scored",
        "loss, nats per token",
        "frontiers it is on",
    )
    return Table("costs", "Cost and quality", columns, tuple(rows))


def proofs_table(found: Sequence[Prover]) -> Table:
    """Perplexities and losses on names, means over seeds."""
    unit = max((one.segment_tokens for one in found if one.memory), default=0)
    rows = []
    for one in found:
        values = worth(one.runs)
        for count in shared_counts(one.runs):
            records = {seed: curve[count] for seed, curve in one.runs.items()}
            cells = [Cell(one.label(unit)), Cell(format_tokens(count), count)]
            cells += [_perplexity(records, part) for part in (ALL, LAST)]
            cells += [_loss(records, part) for part in (NAMES, NAMES_WITHOUT)]
            cells.append(Cell(format_difference(*values[count]) if count in values else UNKNOWN))
            rows.append(tuple(cells))
    columns = (
        "model",
        "segments",
        "perplexity, all (bits per byte)",
        "perplexity, last segment (bits per byte)",
        "names, nats",
        "names without their lemma, nats",
        "what the lemma is worth, nats",
    )
    return Table("proofs", "Proofs", columns, tuple(rows), "Means over seeds.")


def _name(one: Choice) -> str:
    if one.kind == KINDS[0]:
        return context_name(one.size)
    segments = f"{format_tokens(one.size)} segment{'' if one.size == 1 else 's'}"
    return f"memory, {segments}{', in a stream' if one.kind == KINDS[2] else ''}"


def _cell(records: Mapping[int, LanguageRecord]) -> Cell:
    value = mean_over_seeds(records, bits)
    perplexity = math.exp(mean_over_seeds(records, lambda record: record.whole.mean_nats))
    return Cell(f"{format_bits_per_byte(value)} ({format_perplexity(perplexity)})", value)


def _perplexity(records: Mapping[int, LanguageRecord], part: str) -> Cell:
    if not all(part in one.parts for one in records.values()):
        return Cell(UNKNOWN)
    value = math.exp(mean_over_seeds(records, lambda one: one.parts[part].mean_nats))
    size = mean_over_seeds(records, lambda one: one.parts[part].bits_per_byte)
    return Cell(f"{format_perplexity(value)} ({format_bits_per_byte(size)})", value)


def _loss(records: Mapping[int, LanguageRecord], part: str) -> Cell:
    if not all(part in one.parts for one in records.values()):
        return Cell(UNKNOWN)
    value = mean_over_seeds(records, lambda one: one.parts[part].mean_nats)
    return Cell(format_loss(value), value)
