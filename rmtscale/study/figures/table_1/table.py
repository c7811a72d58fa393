"""Table 1 of the paper: what was added to a frozen backbone, with memory and without."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rmtscale.errors import BadInput
from rmtscale.report.tables import UNKNOWN, Cell, Table
from rmtscale.study.figures.language.groups import mean_over_seeds, mean_part, require_same_targets
from rmtscale.study.records.clusters import bits_interval
from rmtscale.study.records.language import LanguageRecord
from rmtscale.units import (
    format_bits_per_byte,
    format_bytes,
    format_count,
    format_perplexity,
    format_seconds,
    format_tokens,
)

ADDED = {"adapter": "parallel adapter", "lora": "LoRA"}
"""Names of what was added, by the words of a recipe's name (``latex-adapter-lora-rmt-2-0``)."""
UNTOUCHED = "backbone as it was"
"""A recipe whose name has the word ``backbone``."""


class Adapted(NamedTuple):
    """One way of adapting a backbone, with all its seeds."""

    method: str
    segments: int
    """Trained on and read, with memory; 0 is without."""
    context_tokens: int
    """True text that is read before what is scored, whatever of it is passed on as memory."""
    records: Mapping[int, LanguageRecord]
    """Records by seed."""


def adaptations(records: Iterable[LanguageRecord]) -> list[Adapted]:
    """Groups records into rows: by method, without memory first (by context), then by segments.

    Each model is read at the length it was trained on.

    Raises:
        BadInput: they were not scored on the same targets, or none was read at that length.
    """
    rows: dict[tuple[int, str, int, int], dict[int, LanguageRecord]] = {}
    for record in records:
        model = record.model
        segments = model.trained_segments if model.memory_tokens else 0
        if record.point.segments == max(segments, 1):
            method = method_of(record)
            context = record.point.tokens - record.point.block_tokens
            row = rows.setdefault((_rank(method), method, segments, context), {})
            row[model.seed] = record
    if not rows:
        raise BadInput("records of table-1: expected models read at the length of their training")
    require_same_targets([record for row in rows.values() for record in row.values()])
    return [Adapted(*key[1:], dict(sorted(rows[key].items()))) for key in sorted(rows)]


def method_of(record: LanguageRecord) -> str:
    """Tells what was trained, by the recipe's name and the number of trainable parameters."""
    model = record.model
    words = model.name.split("-")
    if "backbone" in words:
        return UNTOUCHED
    added = [title for word, title in ADDED.items() if word in words]
    if added:
        return " + ".join(added)
    return "all weights" if model.trainable_parameters == model.parameters else "memory only"


def adaptation_table(ways: Sequence[Adapted]) -> Table:
    """Tabulates means over seeds, for people."""
    rows = []
    for way in ways:
        records = list(way.records.values())
        each = [record.whole.bits_per_byte for record in records]
        whole = mean_part([record.whole for record in records])
        model = records[0].model
        bits = bits_interval(whole)
        ends = f"({format_bits_per_byte(bits.low)} to {format_bits_per_byte(bits.high)})"
        seconds = mean_over_seeds(way.records, step_seconds)
        peaks = [record.model.trained_peak_bytes for record in records]
        known = [peak for peak in peaks if peak is not None]
        rows.append(
            (
                Cell(way.method),
                Cell(str(way.segments) if way.segments else "no memory", way.segments),
                Cell(format_tokens(way.context_tokens), way.context_tokens),
                Cell(format_count(model.trainable_parameters), model.trainable_parameters),
                Cell(format_perplexity(whole.perplexity), whole.perplexity),
                Cell(f"{format_bits_per_byte(bits.mean)} {ends}", bits.mean),
                Cell(", ".join(map(format_bits_per_byte, each))),
                Cell(format_bytes(max(known)), max(known)) if known else Cell(UNKNOWN),
                Cell(UNKNOWN) if math.isnan(seconds) else Cell(format_seconds(seconds), seconds),
            )
        )
    columns = (
        "trained",
        "RMT segments",
        "tokens before the scored",
        "trainable parameters",
        "perplexity, as in the paper",
        "bits per byte (95 % interval)",
        "each seed",
        "peak memory, training",
        "time per training step",
    )
    return Table("table-1", "Parameter-efficient training", columns, tuple(rows))


def adaptation_rows(ways: Sequence[Adapted]) -> list[dict[str, Any]]:
    """Returns one row for each seed, plain numbers."""
    rows = []
    for way in ways:
        for seed, record in way.records.items():
            model, memory = record.model, record.memory
            bits = bits_interval(record.whole)
            seconds = step_seconds(record)
            rows.append(
                {
                    "recipe": model.name,
                    "method": way.method,
                    "memory_tokens": model.memory_tokens,
                    "rmt_segments": way.segments,
                    "context_tokens": way.context_tokens,
                    "seed": seed,
                    "parameters": model.parameters,
                    "trainable_parameters": model.trainable_parameters,
                    "loss_nats": float(f"{record.whole.mean_nats:.6g}"),
                    "perplexity": float(f"{record.whole.perplexity:.6g}"),
                    "bits_per_byte": float(f"{bits.mean:.6g}"),
                    "bits_per_byte_low": float(f"{bits.low:.6g}"),
                    "bits_per_byte_high": float(f"{bits.high:.6g}"),
                    "trained_steps": model.trained_steps,
                    "step_seconds": "" if math.isnan(seconds) else float(f"{seconds:.6g}"),
                    "trained_peak_bytes": model.trained_peak_bytes,
                    "evaluation_peak_allocated_bytes": memory.peak_allocated_bytes,
                    "evaluation_peak_resident_bytes": memory.peak_resident_bytes,
                }
            )
    return rows


def _rank(method: str) -> int:
    """Orders the backbone alone, then one addition, then two."""
    return 0 if method == UNTOUCHED else 1 + method.count("+")


def step_seconds(record: LanguageRecord) -> float:
    """Computes the time of a training step; NaN where nothing was trained."""
    model = record.model
    return model.trained_seconds / model.trained_steps if model.trained_steps else math.nan
