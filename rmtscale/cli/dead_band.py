"""``rmtscale dead-band``: the width of a dead band on the memory, chosen in training text."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rmtscale.cli import options
from rmtscale.cli.dead_band_options import Asked
from rmtscale.cli.output import (
    Row,
    require_format,
    write_line,
    write_rows,
    write_table,
    write_text,
)
from rmtscale.cli.train import require_libraries
from rmtscale.errors import BadInput, CheckFailed
from rmtscale.limits import MOST_SAMPLES, MOST_SEGMENTS
from rmtscale.study.records.widths import (
    ACCURACY,
    CHANGES,
    WAYS,
    WidthPoint,
    WidthRecord,
    WidthStore,
)
from rmtscale.units import (
    format_change,
    format_percent,
    format_tokens,
    parse_sizes,
    require_one_of,
    require_positive,
)

if TYPE_CHECKING:
    from rmtscale.study.records.widths import Changes, MemoryChanges

SEGMENTS, WIDTHS, SAMPLES, BATCH_SIZE = "64,256", "0.2,0.3,0.4,0.5,0.6,0.7", 400, 100
"""Defaults of the way by accuracy."""


def command(
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder of a memory task that 'rmtscale train' wrote.")
    ],
    by: Annotated[
        str,
        typer.Option(
            help="changes: what noise and facts change in the memory. accuracy: right answers with "
            "each of --widths."
        ),
    ] = CHANGES,
    segments: Annotated[
        str | None,
        typer.Option(
            help="Of each sample; by accuracy a list.  (default: 16, or two for each fact of a "
            f"story; by accuracy {SEGMENTS})"
        ),
    ] = None,
    widths: Annotated[
        str | None,
        typer.Option(
            help="By accuracy: dead bands to compare with each other and with none.  (default: "
            f"{WIDTHS})"
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            help="To read; by accuracy at each length, the same for all widths.  (default: those "
            f"of 512 segments together; by accuracy {SAMPLES})"
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="By accuracy: stories at once, each of them once for every width.  (default: "
            f"{BATCH_SIZE})"
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(help="Noise, its training part.  (default: as trained, else python)"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0,
    backbone: options.Backbone = None,
    compile_step: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="By accuracy, on a GPU: full segments compiled; the first takes long.  (default: "
            "as trained)",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cuda or cpu.  (default: the GPU if there is one)")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File of records.  (default: none; by accuracy widths.jsonl in the checkpoint)",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew: what is in the file is lost.")
    ] = False,
    output_format: options.Format = "table",
) -> None:
    """Chooses the dead band for 'evaluate --dead-band' in training text alone.

    By changes: measures how much one segment changes a number of the memory, in noise, once the
    memory has settled, and in a segment with a fact. The dead band is the geometric mean of the
    99.9th percentile in settled noise and the median with a fact, as a multiple of 0.05. Where no
    multiple lies between the two, there is none (exit code 1).

    By accuracy: counts right answers to the same training stories with each width and with none. Of
    those within one standard error of the best, paired, it takes that whose neighbours are right
    most often too, of equal ones the narrowest. What is in the file of records is not read again.

    Example: rmtscale dead-band reports/figure-5/checkpoints/reasoning-0

    Example: rmtscale dead-band build/babilong/best --by accuracy --segments 64,256 --compile
    """
    require_format(output_format)
    require_one_of("by", by, WAYS)
    only_accuracy = {"widths": widths, "batch-size": batch_size, "compile": compile_step}
    for name, value in only_accuracy.items():
        if value is not None and by != ACCURACY:
            raise BadInput(f"--{name}: expected with --by accuracy only")
    counts = None if segments is None else parse_sizes(segments, "segments", MOST_SEGMENTS)
    if samples is not None:
        require_positive("samples", samples, MOST_SAMPLES)
    require_libraries("dead-band")
    asked = Asked(
        checkpoint=checkpoint,
        background=background,
        seed=seed,
        backbone=backbone,
        device=device,
        out=out,
        anew=force,
        output_format=output_format,
    )
    if by == ACCURACY:
        from rmtscale.cli.dead_band_accuracy import choose_by_accuracy, parse_widths

        choose_by_accuracy(
            asked,
            counts or parse_sizes(SEGMENTS),
            parse_widths(widths or WIDTHS),
            samples=SAMPLES if samples is None else samples,
            batch_size=BATCH_SIZE if batch_size is None else batch_size,
            compile_step=compile_step,
        )
        return
    if counts is not None and len(counts) > 1:
        raise BadInput(f"segments {segments!r}: expected one number, or --by accuracy")
    _by_changes(asked, None if counts is None else counts[0], samples)


def _by_changes(asked: Asked, segments: int | None, samples: int | None) -> None:
    from rmtscale.cli.evaluate_memory import default_background
    from rmtscale.profiler.environment import measured_environment
    from rmtscale.study.evaluation.memory_changes import (
        batch_size_of,
        measure_changes,
        training_noise,
        usual_sizes,
    )
    from rmtscale.study.training.checkpoint import source_name, weights_digest
    from rmtscale.study.training.device import find_device, in_use, open_meter
    from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
    from rmtscale.study.training.memory_tasks.reading import Reader

    loaded = load_checkpoint(asked.checkpoint, backbone=asked.backbone)
    loaded.answerer.rmt.set_dead_band(0)
    where = find_device(asked.device)
    reader = Reader(loaded.answerer, where)
    segment_tokens = loaded.answerer.segment_tokens
    background = asked.background or default_background(loaded)
    data = training_noise(loaded, background)
    usual_segments, usual_samples = usual_sizes(data.split_task("train"))
    segments, samples = segments or usual_segments, samples or usual_samples
    batches = data.batches(
        segments * segment_tokens,
        segment_tokens,
        batch_size=batch_size_of(samples),
        seed=asked.seed,
    )
    store = None if asked.out is None else WidthStore(asked.out, anew=asked.anew)
    with nullcontext() if store is None else store.writing(), in_use(where):
        changes = measure_changes(reader, batches, samples)
        if store is not None:
            _, gpu = open_meter(where)
            point = WidthPoint(
                by=CHANGES,
                task=loaded.settings.task,
                task_options=dict(data.settings.task_options),
                weights=weights_digest(asked.checkpoint),
                background=source_name(background),
                segments=segments,
                segment_tokens=segment_tokens,
                samples=samples,
                batch_size=batches.batch_size,
                seed=asked.seed,
                precision=reader.precision,
                device=where.type,
            )
            store.append(
                WidthRecord(
                    read_at=datetime.now(UTC).isoformat(timespec="seconds"),
                    point=point,
                    changes=changes,
                    environment=measured_environment(gpu),
                )
            )
    _write(changes, asked.checkpoint, asked.output_format)
    if changes.dead_band is None:
        raise CheckFailed(
            "no multiple of 0.05 lies above the 99.9th percentile in settled noise, "
            f"{format_change(changes.settled.quantiles[3])}, and below the median with a fact, "
            f"{format_change(changes.fact.quantiles[0])}: expected changes that tell them apart, "
            "or --by accuracy"
        )


def _write(changes: MemoryChanges, checkpoint: Path, output_format: str) -> None:
    kinds = {"settled noise": changes.settled, "a fact": changes.fact}
    if output_format != "table":
        rows = [_plain_row(name, kind, changes.dead_band) for name, kind in kinds.items()]
        write_rows(rows, output_format)
        return
    if changes.dead_band is not None:
        assert changes.fact.share_over is not None, "where there is a dead band"
        write_text(
            f"dead band {changes.dead_band:g}: a fact changes "
            f"{format_percent(changes.fact.share_over)} of the numbers of the memory by at least "
            "as much"
        )
    shown = [
        [name, *(format_change(x) for x in kind.quantiles), format_tokens(kind.numbers)]
        for name, kind in kinds.items()
    ]
    write_text("Change of a number of the memory over one segment, in training text:")
    columns = ["segment with", "50 %", "90 %", "99 %", "99.9 %", "largest", "numbers"]
    write_table(columns, shown, text_columns=1)
    if changes.dead_band is not None:
        words = ["rmtscale", "evaluate", str(checkpoint), "--dead-band", f"{changes.dead_band:g}"]
        write_line(f"use it with: {shlex.join(words)}")


def _plain_row(name: str, kind: Changes, dead_band: float | None) -> Row:
    names = ("change_50", "change_90", "change_99", "change_99_9", "change_largest")
    return {
        "segment_with": name,
        "numbers": kind.numbers,
        **dict(zip(names, kind.quantiles, strict=True)),
        "dead_band": dead_band,
        "share_over_dead_band": kind.share_over,
    }
