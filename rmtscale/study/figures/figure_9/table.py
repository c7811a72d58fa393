"""Table of Figure 9: perplexities of proofs and losses on the names of lemmas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rmtscale.report.tables import UNKNOWN, Cell, Table
from rmtscale.study.figures.figure_9.drawing import LAST, NAMES, NAMES_WITHOUT, Prover, worth
from rmtscale.study.figures.language.groups import mean_over_seeds, shared_counts
from rmtscale.study.records.language import ALL, LanguageRecord
from rmtscale.units import (
    format_bits_per_byte,
    format_difference,
    format_loss,
    format_perplexity,
    format_tokens,
)


def proofs_table(models: Sequence[Prover]) -> Table:
    """Tabulates perplexities and losses on names, means over seeds."""
    unit = max((model.segment_tokens for model in models if model.memory), default=0)
    rows = []
    for model in models:
        values = worth(model.runs)
        for count in shared_counts(model.runs):
            records = {seed: curve[count] for seed, curve in model.runs.items()}
            cells = [Cell(model.label(unit)), Cell(format_tokens(count), count)]
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


def _perplexity(records: Mapping[int, LanguageRecord], part: str) -> Cell:
    if not all(part in record.parts for record in records.values()):
        return Cell(UNKNOWN)
    value = math.exp(mean_over_seeds(records, lambda record: record.parts[part].mean_nats))
    size = mean_over_seeds(records, lambda record: record.parts[part].bits_per_byte)
    return Cell(f"{format_perplexity(value)} ({format_bits_per_byte(size)})", value)


def _loss(records: Mapping[int, LanguageRecord], part: str) -> Cell:
    if not all(part in record.parts for record in records.values()):
        return Cell(UNKNOWN)
    value = mean_over_seeds(records, lambda record: record.parts[part].mean_nats)
    return Cell(format_loss(value), value)
