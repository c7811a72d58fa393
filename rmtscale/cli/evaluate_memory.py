"""``rmtscale evaluate`` for a memory task: accuracy by length, a probe, the paired-noise test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmtscale.cli.evaluate_options import Asked, default_precision
from rmtscale.cli.evaluate_probe import write_probe
from rmtscale.cli.output import write_line, write_note, write_rows, write_table, write_text
from rmtscale.cli.ranks import is_first
from rmtscale.cli.train_settings import read_options
from rmtscale.study.records.evaluation import EvaluationRecord, EvaluationStore
from rmtscale.units import (
    format_accuracy,
    format_bytes,
    format_compiled,
    format_count,
    format_dead_band,
    format_interval,
    format_percent,
    format_tokens,
)

if TYPE_CHECKING:
    from rmtscale.study.tasks.batches import Batches
    from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint
    from rmtscale.study.training.memory_tasks.reading import Reader
    from rmtscale.study.training.share import Share as Processes


def evaluate_checkpoint(
    asked: Asked,
    *,
    long_samples: int | None = None,
    background: str | None = None,
    repeats: bool = True,
    option: list[str] | None = None,
    seed: int = 0,
    probe: bool = False,
    paired_noise: bool = False,
    backbone: str | None = None,
    compile: bool | None = None,
    merge_lora: bool = False,
) -> None:
    """Evaluates, reports each length on standard error as it is done, and prints all of them."""
    from rmtscale.study.evaluation.evaluate import EvaluationSettings, evaluate
    from rmtscale.study.evaluation.processes import sharing_processes
    from rmtscale.study.training.device import in_use
    from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint

    loaded = load_checkpoint(asked.checkpoint, asked.task, backbone)
    if asked.dead_band is not None:
        loaded.answerer.rmt.set_dead_band(asked.dead_band)
    if merge_lora:
        loaded.merge_lora()
    with sharing_processes(asked.device) as (device, share):
        settings = EvaluationSettings(
            segments=asked.segments,
            samples=asked.samples,
            long_samples=long_samples,
            batch_size=100 if asked.batch_size is None else asked.batch_size,
            background=background or default_background(loaded),
            noise_repeats=repeats,
            task_options=None if option is None else read_options(option),
            seed=seed,
            precision=default_precision(asked, loaded.settings, device),
            compile_step=compile,
        )
        store = EvaluationStore(asked.out, anew=asked.anew)
        records = evaluate(
            loaded, settings, store, device=device, observe=say, share=share, probing=probe
        )
        if records:  # on the first process
            if asked.output_format != "table":
                write_rows([plain_row(record) for record in records], asked.output_format)
            else:
                _write_table(records, loaded)
            probed = records[-1].probe if probe else None
            if probed is not None:
                write_probe(probed, asked.output_format)
        if paired_noise:
            with in_use(device):
                _write_paired_noise(loaded, settings, device, share, asked.output_format)


def default_background(checkpoint: Checkpoint) -> str:
    """Returns the noise it was trained with, where that is here; else what every Python has."""
    source = checkpoint.settings.background
    if source == "python" or source.startswith("hf:") or Path(source).exists():
        return source
    if is_first():
        write_note(
            f"noise: python ({source!r}, which it was trained with, is not here; see --background)"
        )
    return "python"


def say(record: EvaluationRecord, known: bool) -> None:
    """One line on standard error as soon as a length is done."""
    again = " (in the file already)" if known else ""
    write_note(
        f"{format_tokens(record.point.segments)} segments: {format_accuracy(record.accuracy)} of "
        f"{format_tokens(record.point.samples)}{again}"
    )


def plain_row(record: EvaluationRecord) -> dict[str, Any]:
    """Returns the main numbers of a record, with units in their names."""
    return {
        "task": record.point.task,
        "segments": record.point.segments,
        "tokens": record.point.tokens,
        "samples": record.point.samples,
        "correct": record.correct,
        "accuracy": record.accuracy,
        "accuracy_low": record.low,
        "accuracy_high": record.high,
        "tokens_per_second": record.tokens_per_second,
        "peak_bytes": record.memory.peak_bytes,
        "host_ids_bytes": record.host_ids_bytes,
        "precision": record.point.precision,
        "device": record.point.device,
        "sink_tokens": record.sink_tokens,
        "dead_band": record.point.dead_band,
        "compile_step": record.point.compile_step,
        "merged_lora": record.point.merged_lora,
    }


def _write_table(records: list[EvaluationRecord], checkpoint: Checkpoint) -> None:
    rows = []
    for record in records:
        peak = record.memory.peak_bytes
        rows.append(
            [
                format_tokens(record.point.segments),
                format_tokens(record.point.tokens),
                format_accuracy(record.accuracy),
                format_interval(record.low, record.high),
                format_tokens(record.point.samples),
                format_count(record.tokens_per_second, 3),
                "" if peak is None else format_bytes(peak),
            ]
        )
    title = (
        f"{checkpoint.settings.task}, trained on {checkpoint.trained_segments} segments of "
        f"{checkpoint.settings.segment_size} ({checkpoint.trained.stage}, step "
        f"{format_tokens(checkpoint.trained.step)})"
        f"{format_dead_band(checkpoint.answerer.rmt.config.dead_band)}"
        f"{format_compiled(any(record.point.compile_step for record in records))}"
    )
    write_text(title)
    columns = ["seg.", "tokens", "accuracy", "95 %", "samples", "tokens/s", "peak"]
    write_table(columns, rows)


def _open(
    checkpoint: Checkpoint,
    settings: Any,
    segments: int,
    device: Any,
    batch_size: int,
    **options: object,
) -> tuple[Reader, Batches]:
    """Opens what reads, and what is read at one length."""
    from rmtscale.study.evaluation.compiling import compiles
    from rmtscale.study.evaluation.evaluate import data_of
    from rmtscale.study.training.memory_tasks.reading import Reader

    compiled = compiles(checkpoint, settings.compile_step, device)
    reader = Reader(checkpoint.answerer, device, settings.precision, compile_step=compiled)
    asked = settings.task_options
    if options:  # what was asked for stays, and is refused where it does not do
        asked = checkpoint.settings.task_options | options if asked is None else options | asked
    data = data_of(checkpoint, settings.background, asked, noise_repeats=settings.noise_repeats)
    segment_tokens = reader.answerer.segment_tokens
    batches = data.batches(
        segments * segment_tokens,
        segment_tokens,
        split="validation",
        batch_size=batch_size,
        seed=settings.seed,
    )
    return reader, batches


def _write_paired_noise(
    checkpoint: Checkpoint, settings: Any, device: Any, share: Processes, output_format: str
) -> None:
    from rmtscale.records.mapping import to_mapping
    from rmtscale.study.evaluation.paired_noise import paired_noise_test

    segments = max(settings.segments)
    stories = max(settings.samples_at(segments) // 2, 2)
    size = 2 * min(max(settings.batch_size // 2, 2), stories)
    reader, batches = _open(checkpoint, settings, segments, device, size, placement="start")
    outcome = paired_noise_test(reader, batches, stories, share)
    if not share.writes:
        return
    if output_format != "table":
        write_rows([to_mapping(outcome)], output_format)
        return
    write_text(
        f"{format_tokens(outcome.stories)} stories, each read with two noises; distances are "
        "shares of that between two stories:"
    )
    rows = [
        [
            format_tokens(milestone.segments),
            format_accuracy(milestone.right / (2 * outcome.stories)),
            *(
                format_percent(share)
                for share in (milestone.moved, milestone.apart, milestone.nearest)
            ),
        ]
        for milestone in outcome.milestones
    ]
    write_table(["segments", "accuracy", "moved", "two noises", "another answer"], rows)
    write_line(
        f"lost in the end: {outcome.both_lost} stories with both noises, {outcome.one_lost} with "
        "one"
    )
