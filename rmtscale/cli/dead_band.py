"""``rmtscale dead-band``: the width of a dead band on the memory, chosen in training text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rmtscale.cli import options
from rmtscale.cli.dead_band_options import Asked
from rmtscale.cli.evaluate_options import refuse_unread_backbone
from rmtscale.cli.given import as_given
from rmtscale.cli.output import require_format
from rmtscale.cli.train import require_libraries
from rmtscale.errors import BadInput
from rmtscale.limits import MOST_SAMPLES, MOST_SEGMENTS
from rmtscale.study.records.widths import ACCURACY, CHANGES, WAYS
from rmtscale.units import parse_sizes, require_one_of, require_positive

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
    merge_lora: Annotated[
        bool,
        typer.Option(
            "--merge-lora",
            help="LoRA is added to the weights first: faster, the same but for rounding.",
        ),
    ] = False,
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
            raise BadInput(f"{as_given(name)}: expected with --by accuracy only")
    if force and out is None and by != ACCURACY:
        raise BadInput("--force: expected with --out or --by accuracy only, nothing is written")
    counts = None if segments is None else parse_sizes(segments, "segments", MOST_SEGMENTS)
    if samples is not None:
        require_positive("samples", samples, MOST_SAMPLES)
    refuse_unread_backbone(checkpoint)
    require_libraries("dead-band")
    asked = Asked(
        checkpoint=checkpoint,
        background=background,
        seed=seed,
        backbone=backbone,
        merge_lora=merge_lora,
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
    from rmtscale.cli.dead_band_changes import choose_by_changes

    choose_by_changes(asked, None if counts is None else counts[0], samples)
