"""``rmtscale evaluate``: how much a trained RMT remembers, or how well it predicts, by length."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from rmtscale.cli import options
from rmtscale.cli.evaluate_options import (
    Asked,
    Background,
    Cache,
    TaskOptions,
    Text,
    by_lengths,
    refuse_foreign,
    refuse_unread_backbone,
    task_of,
)
from rmtscale.cli.given import as_given
from rmtscale.cli.output import require_format
from rmtscale.cli.train import require_libraries
from rmtscale.errors import BadInput
from rmtscale.study.training.kinds import kind_name
from rmtscale.units import parse_sizes

EVALUATORS = {
    "memory": "rmtscale.cli.evaluate_memory",
    "language": "rmtscale.cli.evaluate_language",
}
"""Module that evaluates a checkpoint of each kind of task."""
BABILONG = "rmtscale.cli.evaluate_babilong"


def command(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="Folder that 'rmtscale train' wrote.")
    ] = None,
    segments: Annotated[
        str | None, typer.Option(help="Lengths: a list such as 1,2,4,...  (default: 1,2,4,8)")
    ] = None,
    lengths: Annotated[
        str | None,
        typer.Option(
            help="babilong: 0k,1k,2k,4k,...,128k,512k,1M,10M, on the original test stories."
        ),
    ] = None,
    stories: Annotated[
        str | None,
        typer.Option(help="With --lengths: qa1,qa2,...  (default: what it was trained on)"),
    ] = None,
    answers: Annotated[
        str | None,
        typer.Option(
            help="With --lengths: classes, or generate: free text, scored by the benchmark's rule."
            "  (default: classes)"
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="With --lengths, in the place of a checkpoint: folder of any Hugging Face decoder "
            "or RMT with its tokenizer.json; it answers in free text."
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            help="At each length; of text, at most.  (default: 1000; with --lengths 100 beyond 32k)"
        ),
    ] = None,
    long_samples: Annotated[
        int | None,
        typer.Option(help="Memory tasks: at more than 256 segments.  (default: as many)"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Sequences at once, the same at every length.  (default: 100; language: 32)"
        ),
    ] = None,
    background: Background = None,
    repeats: Annotated[
        bool | None,
        typer.Option(
            "--repeats/--no-repeats",
            help="Memory tasks: an input may hold the same noise twice.  (default: yes)",
        ),
    ] = None,
    option: TaskOptions = None,
    seed: Annotated[
        int | None, typer.Option(help="Memory tasks: of the samples.  (default: 0)")
    ] = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Memory tasks, also, of the longest: do margins hold, by the fact's depth, and "
            "where it is lost.",
        ),
    ] = False,
    paired_noise: Annotated[
        bool,
        typer.Option(
            "--paired-noise",
            help="Memory tasks, also: each story with two noises: do both readings lose it?",
        ),
    ] = False,
    backbone: options.Backbone = None,
    text: Text = None,
    history: Annotated[
        str | None,
        typer.Option(
            help="Language: tokens that every target has before it, read or not.  (default: what "
            "the longest length reads)"
        ),
    ] = None,
    cache: Cache = None,
    dead_band: Annotated[
        float | None,
        typer.Option(
            help="A number of the memory keeps its old value unless one segment changes it by at "
            "least this much; 0 is the paper's RMT.  (default: the checkpoint's own, else 0)"
        ),
    ] = None,
    compile_step: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="On a GPU: full segments compiled; the first takes long.  (default: as trained)",
        ),
    ] = None,
    merge_lora: Annotated[
        bool,
        typer.Option(
            "--merge-lora",
            help="Memory tasks: LoRA is added to the weights first: faster, the same but for "
            "rounding.",
        ),
    ] = False,
    task: Annotated[str | None, typer.Option(help="Refuse a checkpoint of another task.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32 or bf16.  (default: as trained; fp32 on a CPU)")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cuda or cpu.  (default: the GPU if there is one)")
    ] = None,
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
    """Speed, peak memory and what was learned, with a 95 % interval, at each length: the accuracy
    of a memory task; loss, perplexity and bits per byte of a language task.

    Lengths that are in the file of records are not evaluated again.
    Several GPUs: torchrun --nproc_per_node 2 -m rmtscale evaluate ... shares the samples out.

    Example: rmtscale evaluate build/memorize/best --segments 1,2,4,8,16 --samples 200

    Example: rmtscale evaluate build/babilong/best --lengths 0k,4k,128k --background prose
    """
    require_format(output_format)
    require_libraries("evaluate")
    counts = tuple(parse_sizes(segments or "1,2,4,8", "segments"))
    folder = _one_of(checkpoint, model)
    task_found = "babilong" if model is not None else task_of(folder)
    kind = kind_name(task_found)
    given = {
        "long-samples": long_samples,
        "background": background,
        "repeats": repeats,
        "option": option,
        "seed": seed,
        "probe": probe or None,
        "paired-noise": paired_noise or None,
        "backbone": backbone,
        "compile": compile_step,
        "merge-lora": merge_lora or None,
        "lengths": lengths,
        "stories": stories,
        "answers": answers,
        "text": text,
        "history": history,
        "cache": cache,
    }
    options_given = {name: value for name, value in given.items() if value is not None}
    refuse_foreign(options_given, kind, task_found)
    if model is None:
        refuse_unread_backbone(folder)
    asked = Asked(
        checkpoint=folder,
        task=task,
        segments=counts,
        samples=1000 if samples is None else samples,
        batch_size=batch_size,
        dead_band=dead_band,
        precision=precision,
        device=device,
        out=folder / "evaluation.jsonl" if out is None else out,
        anew=force,
        output_format=output_format,
    )
    keywords = {name.replace("-", "_"): value for name, value in options_given.items()}
    if by_lengths(options_given, segments, model):
        if out is None:
            asked = replace(asked, out=folder / "babilong.jsonl")
        evaluators = import_module(BABILONG)
        evaluate = evaluators.evaluate_lengths if model is None else evaluators.evaluate_model
        evaluate(asked, samples=samples, **keywords)
        return
    import_module(EVALUATORS[kind]).evaluate_checkpoint(asked, **keywords)


def _one_of(checkpoint: Path | None, model: Path | None) -> Path:
    """Returns the folder of what is evaluated."""
    if checkpoint is not None and model is not None:
        raise BadInput(
            f"checkpoint {str(checkpoint)!r} with {as_given('model')}: expected one of them"
        )
    if checkpoint is None and model is None:
        raise BadInput("nothing to evaluate: expected a checkpoint's folder or --model FOLDER")
    return checkpoint or model or Path()
