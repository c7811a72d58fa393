"""``rmtscale evaluate`` for a checkpoint of a language task: loss by length."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from rmtscale.cli.evaluate_options import Asked, default_precision
from rmtscale.cli.output import Row, write_note, write_rows, write_table, write_text
from rmtscale.errors import BadInput
from rmtscale.study.records.clusters import Interval, Part, mean_interval
from rmtscale.study.records.language import ALL, LanguageRecord, LanguageStore
from rmtscale.units import (
    format_bits_per_byte,
    format_bytes,
    format_compiled,
    format_count,
    format_dead_band,
    format_loss,
    format_memory_tokens,
    format_nats,
    format_perplexity,
    format_repeats,
    format_tokens,
    parse_size,
)

if TYPE_CHECKING:
    from rmtscale.study.training.language.checkpoint import LanguageCheckpoint


def evaluate_checkpoint(
    asked: Asked,
    *,
    backbone: str | None = None,
    text: str | None = None,
    history: str | None = None,
    cache: Path | None = None,
    compile: bool | None = None,
) -> None:
    """Evaluates, reports each length on standard error as it is done, and prints all of them."""
    from rmtscale.study.evaluation.language import LanguageEvaluation, evaluate_language
    from rmtscale.study.evaluation.processes import sharing_processes
    from rmtscale.study.training.language.checkpoint import load_language_checkpoint

    loaded = load_language_checkpoint(asked.checkpoint, asked.task, backbone)
    if asked.dead_band is not None:
        loaded.predictor.rmt.set_dead_band(asked.dead_band)
    with sharing_processes(asked.device) as (device, share):
        settings = LanguageEvaluation(
            segments=asked.segments,
            samples=asked.samples,
            batch_size=32 if asked.batch_size is None else asked.batch_size,
            text=text,
            history_tokens=None if history is None else _history_tokens(history),
            precision=default_precision(asked, loaded.settings, device),
            compile_step=compile,
        )
        if text is None:
            require_text_here(loaded)
        where = default_cache(loaded.folder) if cache is None else cache
        store = LanguageStore(asked.out, anew=asked.anew)
        records = evaluate_language(
            loaded, settings, store, device=device, cache=where, observe=say, share=share
        )
    if not records:  # another process writes
        return
    if asked.output_format != "table":
        write_rows([plain_row(record) for record in records], asked.output_format)
        return
    _write_table(records, loaded)
    if len(records[0].parts) > 1:
        _write_parts(records)


def _history_tokens(text: str) -> int:
    return 0 if text.strip() == "0" else parse_size(text, "history")


def require_text_here(checkpoint: LanguageCheckpoint) -> None:
    """Raises ``BadInput`` where the training's text is gone: no other is taken unasked."""
    text = checkpoint.settings.text
    if text != "python" and not text.startswith("hf:") and not Path(text).exists():
        raise BadInput(
            f"text {text!r}, which it was trained on, is not here: expected --text with its place"
        )


def default_cache(checkpoint: Path) -> Path:
    """Finds the training's own packed text, else a folder in the checkpoint."""
    from rmtscale.study.training.layout import CACHE

    near = [checkpoint.parent / CACHE, checkpoint.parent.parent / CACHE]
    return next((folder for folder in near if folder.is_dir()), checkpoint / CACHE)


def say(record: LanguageRecord, known: bool) -> None:
    """One line on standard error as soon as a length is done."""
    again = " (in the file already)" if known else ""
    write_note(
        f"{format_tokens(record.point.segments)} segments: loss "
        f"{format_loss(record.whole.mean_nats)} on {format_tokens(record.whole.total_tokens)} "
        f"tokens{again}"
    )


def plain_row(record: LanguageRecord) -> Row:
    """Returns the main numbers of a record, with units in their names."""
    point = record.point
    row: Row = {
        "task": point.task,
        "model": record.model.name,
        "text": point.text,
        "segments": point.segments,
        "text_tokens": point.tokens,
        "block_tokens": point.block_tokens,
        "history_tokens": point.history_tokens,
        "samples": point.samples,
        **_plain_part(record.whole),
        "forward_flops": record.forward_flops,
        "tokens_per_second": record.tokens_per_second,
        "peak_bytes": record.memory.peak_bytes,
        "precision": point.precision,
        "device": point.device,
        "sink_tokens": record.sink_tokens,
        "trained_repeat_share": record.model.trained_repeat_share,
        "dead_band": point.dead_band,
        "compile_step": point.compile_step,
    }
    others = {name: part for name, part in record.parts.items() if name != ALL}
    return row | {name: _plain_part(part) for name, part in others.items()}


def _plain_part(part: Part) -> Row:
    interval = mean_interval(part)
    values = {
        "loss_nats_per_token": interval.mean,
        "loss_low_nats_per_token": interval.low,
        "loss_high_nats_per_token": interval.high,
        "perplexity": part.perplexity,
        "bits_per_byte": part.bits_per_byte,
    }
    # One document has no interval, and where nothing is scored there is no loss.
    finite = {name: x if math.isfinite(x) else None for name, x in values.items()}
    return {"scored_tokens": part.total_tokens, **finite}


def _shown(interval: Interval) -> str:
    if not math.isfinite(interval.high):
        return ""
    return f"{format_nats(interval.low)} to {format_nats(interval.high)}"


def _write_table(records: list[LanguageRecord], checkpoint: LanguageCheckpoint) -> None:
    rows = []
    for record in records:
        peak, interval = record.memory.peak_bytes, mean_interval(record.whole)
        rows.append(
            [
                format_tokens(record.point.segments),
                format_tokens(record.point.tokens),
                format_nats(interval.mean),
                _shown(interval),
                format_perplexity(record.whole.perplexity),
                format_bits_per_byte(record.whole.bits_per_byte),
                format_count(record.tokens_per_second, 3),
                "" if peak is None else format_bytes(peak, 3),
            ]
        )
    settings, trained = checkpoint.settings, checkpoint.trained
    first = records[0]
    of = "documents" if len(first.parts) == 1 else "source files"
    write_text(
        f"{settings.task}, trained on {trained.segments} segments of {settings.segment_size}, "
        f"{format_memory_tokens(settings.memory_tokens, settings.sink_tokens)} "
        f"(step {format_tokens(trained.step)})"
        f"{format_repeats(settings.repeat_share, settings.repeat_until)}"
        f"{format_dead_band(first.point.dead_band)}"
        f"{format_compiled(any(record.point.compile_step for record in records))}; "
        f"{first.point.text}: {format_tokens(first.point.samples)} samples of "
        f"{format_tokens(sum(count > 0 for count in first.whole.tokens))} {of}"
    )
    columns = ["seg.", "tokens", "nats", "95 %", "perpl.", "bits/B", "tokens/s", "peak"]
    write_table(columns, rows)


def _write_parts(records: list[LanguageRecord]) -> None:
    rows = []
    for record in records:
        for name, part in record.parts.items():
            interval = mean_interval(part)
            rows.append(
                [
                    name,
                    format_tokens(record.point.segments),
                    format_tokens(part.total_tokens),
                    format_nats(interval.mean),
                    _shown(interval),
                    format_perplexity(part.perplexity),
                ]
            )
    write_text("By what is scored (names-without: the lemmas they name are not in the context):")
    write_table(["part", "seg.", "tokens", "nats", "95 %", "perpl."], rows, text_columns=1)
