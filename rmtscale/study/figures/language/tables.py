"""Losses of language models as a table, by segments read."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rmtscale.report.tables import Cell, Table
from rmtscale.study.figures.language.groups import InputSize, mean_over_seeds
from rmtscale.study.figures.language.lines import bits, context_name
from rmtscale.study.records.language import LanguageRecord
from rmtscale.units import format_bits_per_byte, format_perplexity, format_tokens


def losses_table(size: InputSize) -> Table:
    """Tabulates bits per byte and perplexity, mean over seeds: a column for each training."""
    rows = []
    for count in size.counts:
        cells = [Cell(format_tokens(count), count)]
        for runs in size.rmt.values():
            read = {seed: curve[count] for seed, curve in runs.items() if count in curve}
            cells.append(_cell(read) if len(read) == len(runs) else Cell(""))
        rows.append(tuple(cells))
    baselines = [
        f"{context_name(context)}: {_cell(by_seed).text}"
        for context, by_seed in size.contexts.items()
    ]
    note = "Bits per byte, perplexity of a token in brackets; means over seeds."
    if baselines:
        note += f" {'; '.join(baselines).capitalize()}."
    columns = ("segments read", *(f"trained on {trained}" for trained in size.rmt))
    return Table("losses", "Losses", columns, tuple(rows), note)


def _cell(records: Mapping[int, LanguageRecord]) -> Cell:
    value = mean_over_seeds(records, bits)
    perplexity = math.exp(mean_over_seeds(records, lambda record: record.whole.mean_nats))
    return Cell(f"{format_bits_per_byte(value)} ({format_perplexity(perplexity)})", value)
