"""``rmtscale dead-band``: the width of a dead band on the memory, chosen from training text."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rmtscale.cli import options
from rmtscale.cli.output import Row, require_format, write_line, write_rows, write_table, write_text
from rmtscale.cli.train import require_libraries
from rmtscale.errors import CheckFailed
from rmtscale.limits import MOST_SAMPLES, MOST_SEGMENTS
from rmtscale.units import format_change, format_percent, format_tokens, require_positive

if TYPE_CHECKING:
    from rmtscale.study.evaluation.memory_changes import Changes, MemoryChanges


def command(
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder of a memory task that 'rmtscale train' wrote.")
    ],
    segments: Annotated[
        int | None,
        typer.Option(help="Of each sample.  (default: 16, or two for each fact of a story)"),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="To read.  (default: those of 512 segments together)")
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(help="Noise, its training part.  (default: as trained, else python)"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0,
    backbone: options.Backbone = None,
    device: Annotated[
        str | None, typer.Option(help="cuda or cpu.  (default: the GPU if there is one)")
    ] = None,
    output_format: options.Format = "table",
) -> None:
    """Chooses the dead band for 'evaluate --dead-band' from training text alone.

    Measures how much one segment changes a number of the memory: in noise, once the memory has
    settled, and in a segment with a fact. The dead band is the geometric mean of the 99.9th
    percentile in settled noise and the median with a fact, as a multiple of 0.05. Where no multiple
    lies between the two, there is none (exit code 1).

    Example: rmtscale dead-band reports/figure-5/checkpoints/reasoning-0
    """
    require_format(output_format)
    for name, given, most in (
        ("segments", segments, MOST_SEGMENTS),
        ("samples", samples, MOST_SAMPLES),
    ):
        if given is not None:
            require_positive(name, given, most)
    require_libraries("dead-band")
    from rmtscale.cli.evaluate_memory import default_background
    from rmtscale.study.evaluation.memory_changes import (
        batch_size_of,
        measure_changes,
        training_noise,
        usual_sizes,
    )
    from rmtscale.study.training.device import find_device, in_use
    from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
    from rmtscale.study.training.memory_tasks.reading import Reader

    loaded = load_checkpoint(checkpoint, backbone=backbone)
    loaded.answerer.rmt.set_dead_band(0)
    where = find_device(device)
    reader = Reader(loaded.answerer, where)
    segment_tokens = loaded.answerer.segment_tokens
    data = training_noise(loaded, background or default_background(loaded))
    usual_segments, usual_samples = usual_sizes(data.split_task("train"))
    segments, samples = segments or usual_segments, samples or usual_samples
    batches = data.batches(
        segments * segment_tokens, segment_tokens, batch_size=batch_size_of(samples), seed=seed
    )
    with in_use(where):
        changes = measure_changes(reader, batches, samples)
    _write(changes, checkpoint, output_format)
    if changes.dead_band is None:
        raise CheckFailed(
            "no multiple of 0.05 lies above the 99.9th percentile in settled noise, "
            f"{format_change(changes.settled.quantiles[3])}, and below the median with a fact, "
            f"{format_change(changes.fact.quantiles[0])}: expected changes that tell them apart"
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
