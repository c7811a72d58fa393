"""``rmtscale evaluate --lengths``: BABILong's original test stories, by task and length."""

from __future__ import annotations

from typing import Any

from rmtscale.cli.evaluate_memory import default_background
from rmtscale.cli.evaluate_options import Asked, default_precision
from rmtscale.cli.output import write_note, write_rows, write_table, write_text
from rmtscale.errors import BadInput
from rmtscale.study.records.babilong import BabilongRecord, BabilongStore
from rmtscale.study.tasks.babi.grammar import parse_stories
from rmtscale.study.tasks.lengths import parse_lengths
from rmtscale.units import (
    format_accuracy,
    format_bytes,
    format_count,
    format_dead_band,
    format_interval,
    format_seconds,
    format_tokens,
)


def evaluate_lengths(
    asked: Asked,
    lengths: str,
    *,
    stories: str | None = None,
    samples: int | None = None,
    background: str | None = None,
    seed: int = 0,
    backbone: str | None = None,
) -> None:
    """Evaluates, reports each point on standard error as it is done, and prints all of them."""
    from rmtscale.study.evaluation.babilong import BabilongSettings, evaluate_babilong
    from rmtscale.study.evaluation.evaluate import data_of
    from rmtscale.study.evaluation.rmt_answers import RmtAnswers
    from rmtscale.study.tasks.babi.pool import load_pool
    from rmtscale.study.training.checkpoint import source_name
    from rmtscale.study.training.device import find_device
    from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
    from rmtscale.study.training.memory_tasks.reading import Reader

    loaded = load_checkpoint(asked.checkpoint, asked.task, backbone)
    if loaded.settings.task != "babilong":
        raise BadInput(
            f"--lengths {lengths!r}: expected a checkpoint of babilong, this one is of "
            f"{loaded.settings.task}; see --segments"
        )
    if asked.dead_band is not None:
        loaded.answerer.rmt.set_dead_band(asked.dead_band)
    device = find_device(asked.device)
    trained = str(loaded.settings.task_options.get("stories", "qa1"))
    settings = BabilongSettings(
        stories=parse_stories(trained if stories is None else stories),
        lengths=parse_lengths(lengths),
        samples=samples,
        batch_size=100 if asked.batch_size is None else asked.batch_size,
        background=background or default_background(loaded),
        seed=seed,
        precision=default_precision(asked, loaded.settings, device),
    )
    for qa in settings.stories:
        load_pool(qa, "original", "test")  # refused before long texts are read
    compiled = loaded.settings.compile_step and device.type == "cuda"
    reader = Reader(loaded.answerer, device, settings.precision, compile_step=compiled)
    records = evaluate_babilong(
        RmtAnswers(loaded, reader),
        data_of(loaded, settings.background).noise("evaluation"),
        source_name(settings.background),
        settings,
        BabilongStore(asked.out, anew=asked.anew),
        device=device.type,
        observe=say,
    )
    write_records(records, asked.output_format)


def say(record: BabilongRecord, known: bool) -> None:
    """One line on standard error as soon as a length is done."""
    again = " (in the file already)" if known else ""
    repeats = ", the noise repeats" if record.tokens > record.noise_tokens else ""
    write_note(
        f"{record.point.stories} at {record.point.length}: {format_accuracy(record.accuracy)} of "
        f"{format_tokens(record.point.samples)}{repeats}{again}"
    )


def write_records(records: list[BabilongRecord], output_format: str) -> None:
    """Prints a row for each task and length."""
    if output_format != "table":
        write_rows([plain_row(record) for record in records], output_format)
        return
    rows = []
    for record in records:
        peak = record.memory.peak_bytes
        rows.append(
            [
                record.point.stories,
                record.point.length,
                format_accuracy(record.accuracy),
                format_interval(record.low, record.high),
                format_tokens(record.point.samples),
                format_count(record.tokens_per_second, 3),
                format_seconds(record.seconds_per_sample),
                "" if peak is None else format_bytes(peak),
            ]
        )
    band = format_dead_band(records[0].point.dead_band)
    write_text(f"BABILong, original test stories{band}")
    columns = ["task", "length", "accuracy", "95 %", "samples", "tokens/s", "a sample", "peak"]
    write_table(columns, rows, text_columns=2)


def plain_row(record: BabilongRecord) -> dict[str, Any]:
    """Returns the main numbers of a record, with units in their names."""
    return {
        "task": record.point.stories,
        "length": record.point.length,
        "words": record.words,
        "tokens": record.tokens,
        "samples": record.point.samples,
        "left_out": record.left_out,
        "correct": record.correct,
        "accuracy": record.accuracy,
        "accuracy_low": record.low,
        "accuracy_high": record.high,
        "unanswered": record.unanswered,
        "tokens_per_second": record.tokens_per_second,
        "seconds_per_sample": record.seconds_per_sample,
        "peak_bytes": record.memory.peak_bytes,
        "batch_size": record.batch_size,
        "precision": record.point.precision,
        "device": record.point.device,
        "dead_band": record.point.dead_band,
        "answers": record.point.answers,
        "model": record.point.model,
    }
