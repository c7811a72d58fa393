"""``rmtscale evaluate``: how much a trained RMT remembers, by length."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmtscale.cli import options
from rmtscale.cli.output import require_format, write_line, write_rows, write_table, write_text
from rmtscale.cli.train import require_libraries
from rmtscale.cli.train_settings import read_options
from rmtscale.records.evaluation import EvaluationRecord, EvaluationStore
from rmtscale.units import (
    format_accuracy,
    format_bytes,
    format_count,
    format_interval,
    format_percent,
    format_tokens,
    parse_sizes,
)

if TYPE_CHECKING:
    from rmtscale.evaluation.probe import Probe, Share
    from rmtscale.training.checkpoint import Checkpoint


def command(
    checkpoint: Annotated[Path, typer.Argument(help="Folder that 'rmtscale train' wrote.")],
    segments: Annotated[str, typer.Option(help="Lengths: a list such as 1,2,4,...")] = "1,2,4,8",
    samples: Annotated[int, typer.Option(help="At each length.")] = 1000,
    long_samples: Annotated[
        int | None, typer.Option(help="At more than 256 segments.  (default: as many)")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Sequences at once, the same at every length.")
    ] = 100,
    background: Annotated[
        str | None,
        typer.Option(help="Noise, its validation part.  (default: as trained, else python)"),
    ] = None,
    repeats: Annotated[
        bool,
        typer.Option("--repeats/--no-repeats", help="An input may hold the same noise twice."),
    ] = True,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Of the task, NAME=VALUE, such as placement=depth:1; may be repeated."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Refuse a checkpoint of another task.")] = None,
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0,
    precision: Annotated[
        str | None, typer.Option(help="fp32 or bf16.  (default: as trained; fp32 on a CPU)")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cuda or cpu.  (default: the GPU if there is one)")
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also: by the fact's depth, and where it is lost.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="File of records.  (default: evaluation.jsonl in the checkpoint)"
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew: what is in the file is lost.")
    ] = False,
    output_format: options.Format = "table",
) -> None:
    """Accuracy with a 95 % interval, speed and peak memory at each length.

    Lengths that are in the file of records are not evaluated again.

    Example: rmtscale evaluate build/memorize/best --segments 1,2,4,8,16 --samples 200
    """
    require_format(output_format)
    require_libraries("evaluate")
    from rmtscale.evaluation.evaluate import EvaluationSettings, evaluate
    from rmtscale.training.checkpoint import load_checkpoint
    from rmtscale.training.device import find_device

    lengths = parse_sizes(segments, "segments")
    loaded = load_checkpoint(checkpoint, task)
    where = find_device(device)
    settings = EvaluationSettings(
        segments=tuple(lengths),
        samples=samples,
        long_samples=long_samples,
        batch_size=batch_size,
        background=background or default_background(loaded),
        noise_repeats=repeats,
        task_options=None if option is None else read_options(option),
        seed=seed,
        precision=precision or default_precision(loaded, where),
    )
    store = EvaluationStore(checkpoint / "evaluation.jsonl" if out is None else out)
    if force:
        store.path.unlink(missing_ok=True)
    records = evaluate(loaded, settings, store, device=where, observe=say)
    if output_format != "table":
        write_rows([plain_row(record) for record in records], output_format)
    else:
        _write_table(records, loaded)
    if probe:
        _write_probe(loaded, settings, max(lengths), where, output_format)


def default_background(checkpoint: Checkpoint) -> str:
    """The noise it was trained with, where that is here; else what every Python has."""
    source = checkpoint.settings.background
    if source == "python" or source.startswith("hf:") or Path(source).exists():
        return source
    sys.stderr.write(
        f"noise: python ({source!r}, which it was trained with, is not here; see --background)\n"
    )
    return "python"


def default_precision(checkpoint: Checkpoint, device: Any) -> str:
    return "fp32" if device.type == "cpu" else checkpoint.settings.precision


def say(record: EvaluationRecord, known: bool) -> None:
    """One line on standard error as soon as a length is done."""
    again = " (in the file already)" if known else ""
    sys.stderr.write(
        f"{format_tokens(record.point.segments)} segments: {format_accuracy(record.accuracy)} of "
        f"{format_tokens(record.point.samples)}{again}\n"
    )
    sys.stderr.flush()


def peak_bytes(record: EvaluationRecord) -> int | None:
    """On a GPU the peak of allocated tensors, on a CPU that of the process."""
    memory = record.memory
    if memory.peak_allocated_bytes is not None:
        return memory.peak_allocated_bytes
    return memory.peak_resident_bytes


def plain_row(record: EvaluationRecord) -> dict[str, Any]:
    """The main numbers of a record, with units in their names."""
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
        "peak_bytes": peak_bytes(record),
        "host_ids_bytes": record.host_ids_bytes,
        "precision": record.point.precision,
        "device": record.point.device,
    }


def _write_table(records: list[EvaluationRecord], checkpoint: Checkpoint) -> None:
    rows = []
    for record in records:
        peak = peak_bytes(record)
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
    )
    write_text(title)
    columns = ["seg.", "tokens", "accuracy", "95 %", "samples", "tokens/s", "peak"]
    write_table(columns, rows)


def _write_probe(
    checkpoint: Checkpoint, settings: Any, segments: int, device: Any, output_format: str
) -> None:
    from rmtscale.evaluation.evaluate import data_of
    from rmtscale.evaluation.probe import probe
    from rmtscale.evaluation.reading import Reader
    from rmtscale.records.mapping import to_mapping

    reader = Reader(checkpoint.answerer, device, settings.precision)
    data = data_of(
        checkpoint,
        settings.background,
        settings.task_options,
        noise_repeats=settings.noise_repeats,
    )
    segment_tokens = reader.answerer.segment_tokens
    samples = settings.samples_at(segments)
    batches = data.batches(
        segments * segment_tokens,
        segment_tokens,
        split="validation",
        batch_size=min(settings.batch_size, samples),
        seed=settings.seed,
    )
    found = probe(reader, batches, samples)
    if output_format != "table":
        write_rows([to_mapping(replace(found, broke_at=()))], output_format)
        return
    write_text(f"At {format_tokens(found.segments)} segments, by segments from fact to question:")
    _write_shares("segments", found.by_depth)
    write_text("By the fact's place in its segment:")
    _write_shares("place", found.by_place)
    write_text("Asked after so many segments, among those whose facts had all been read:")
    _write_shares("segments", found.after_segments)
    _write_memory(found)


def _write_shares(what: str, shares: tuple[Share, ...]) -> None:
    rows = [
        [
            share.label,
            format_accuracy(share.accuracy),
            format_interval(share.low, share.high),
            format_tokens(share.samples),
        ]
        for share in shares
    ]
    write_table([what, "accuracy", "95 %", "samples"], rows, text_columns=1)


def _write_memory(found: Probe) -> None:
    rows = [[stop, format_percent(share)] for stop, share in found.moved_share.items()]
    write_text("Memory tokens that changed in a segment, by half of what tells memories apart:")
    write_table(["segment", "changed"], rows)
    lost = sorted(at for at in found.broke_at if at is not None)
    if lost:
        write_line(
            f"{len(lost)} of {len(found.broke_at)} answers were lost, half of them by segment "
            f"{lost[len(lost) // 2]}"
        )
    else:
        write_line(f"all {len(found.broke_at)} answers were kept to the end")
