"""Table of Figure 9: losses of proofs and on the names of lemmas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rmtscale.report.tables import UNKNOWN, Cell, Table
from rmtscale.study.figures.figure_9.drawing import LAST, NAMES, NAMES_WITHOUT, Prover, worth
from rmtscale.study.figures.language.groups import mean_over_seeds, shared_counts
from rmtscale.study.records.language import ALL, LanguageRecord
from rmtscale.units import (
    format_bits_per_byte,
    format_difference,
    format_tokens,
)


def proofs_table(models: Sequence[Prover]) -> Table:
    """Tabulates losses of proofs and on names, means over seeds."""
    unit = max((model.segment_tokens for model in models if model.memory), default=0)
    rows = []
    for model in models:
        values = worth(model.runs)
        for count in shared_counts(model.runs):
            records = {seed: curve[count] for seed, curve in model.runs.items()}
            cells = [Cell(model.label(unit)), Cell(format_tokens(count), count)]
            cells += [_loss(records, part) for part in (ALL, LAST, NAMES, NAMES_WITHOUT)]
            cells.append(Cell(format_difference(*values[count]) if count in values else UNKNOWN))
            rows.append(tuple(cells))
    columns = (
        "model",
        "segments",
        "all",
        "last segment",
        "names",
        "names without their lemma",
        "what the lemma is worth",
    )
    return Table("proofs", "Proofs", columns, tuple(rows), "Bits per byte, means over seeds.")


def _loss(records: Mapping[int, LanguageRecord], part: str) -> Cell:
    if not all(part in record.parts for record in records.values()):
        return Cell(UNKNOWN)
    value = mean_over_seeds(records, lambda record: record.parts[part].bits_per_byte)
    return Cell(format_bits_per_byte(value), value)
