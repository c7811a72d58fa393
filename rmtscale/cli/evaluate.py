"""``rmtscale evaluate``: how much a trained RMT remembers, or how well it predicts, by length."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmtscale.cli import options
from rmtscale.cli.output import require_format
from rmtscale.cli.train import require_libraries
from rmtscale.cli.train_settings import read_options
from rmtscale.errors import BadInput, quoted_list
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.language import LanguageStore
from rmtscale.units import parse_size, parse_sizes

if TYPE_CHECKING:
    from rmtscale.study.training.settings import LoopSettings


def command(
    checkpoint: Annotated[Path, typer.Argument(help="Folder that 'rmtscale train' wrote.")],
    segments: Annotated[str, typer.Option(help="Lengths: a list such as 1,2,4,...")] = "1,2,4,8",
    samples: Annotated[int, typer.Option(help="At each length; of text, at most.")] = 1000,
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
    background: Annotated[
        str | None,
        typer.Option(
            help="Memory tasks: noise, its validation part.  (default: as trained, else python)"
        ),
    ] = None,
    repeats: Annotated[
        bool | None,
        typer.Option(
            "--repeats/--no-repeats",
            help="Memory tasks: an input may hold the same noise twice.  (default: yes)",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a memory task, NAME=VALUE, such as placement=depth:1; may be repeated."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Memory tasks: of the samples.  (default: 0)")
    ] = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Memory tasks, also: by the fact's depth, and where it is lost."
        ),
    ] = False,
    twins: Annotated[
        bool,
        typer.Option(
            "--twins",
            help="Memory tasks, also: each story with two noises: do both readings lose it?",
        ),
    ] = False,
    text: Annotated[
        str | None,
        typer.Option(help="Language: its validation part is scored.  (default: as trained)"),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            help="Language: tokens that every target has before it, read or not.  (default: what "
            "the longest length reads)"
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Language: folder of packed text.  (default: the training's)"),
    ] = None,
    dead_band: Annotated[
        float | None,
        typer.Option(
            help="A number of the memory keeps its old value unless one segment changes it by at "
            "least this much; 0 is the paper's RMT.  (default: the checkpoint's own, else 0)"
        ),
    ] = None,
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

    Example: rmtscale evaluate build/memorize/best --segments 1,2,4,8,16 --samples 200
    """
    require_format(output_format)
    require_libraries("evaluate")
    from rmtscale.study.training.device import find_device
    from rmtscale.study.training.language.settings import LANGUAGE_TASKS

    lengths = tuple(parse_sizes(segments, "segments"))
    found = task_of(checkpoint)
    path = checkpoint / "evaluation.jsonl" if out is None else out
    memory_only = {
        "long-samples": long_samples,
        "background": background,
        "repeats": repeats,
        "option": option,
        "seed": seed,
        "probe": probe or None,
        "twins": twins or None,
    }
    if found in LANGUAGE_TASKS:
        refuse(memory_only, "a memory task", found)
        from rmtscale.cli.evaluate_language import evaluate_text
        from rmtscale.study.evaluation.language import LanguageEvaluation
        from rmtscale.study.training.language.checkpoint import load_language_checkpoint

        model = load_language_checkpoint(checkpoint, task)
        if dead_band is not None:
            model.predictor.rmt.set_dead_band(dead_band)
        where = find_device(device)
        asked = LanguageEvaluation(
            segments=lengths,
            samples=samples,
            batch_size=32 if batch_size is None else batch_size,
            text=text,
            history_tokens=None if history is None else _history(history),
            precision=precision or default_precision(model.settings, where),
        )
        store = LanguageStore(path, anew=force)
        evaluate_text(model, asked, store, where, cache, output_format)
        return
    refuse({"text": text, "history": history, "cache": cache}, "a language task", found)
    from rmtscale.cli.evaluate_memory import default_background, evaluate_memory
    from rmtscale.study.evaluation.evaluate import EvaluationSettings
    from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint

    loaded = load_checkpoint(checkpoint, task)
    if dead_band is not None:
        loaded.answerer.rmt.set_dead_band(dead_band)
    where = find_device(device)
    settings = EvaluationSettings(
        segments=lengths,
        samples=samples,
        long_samples=long_samples,
        batch_size=100 if batch_size is None else batch_size,
        background=background or default_background(loaded),
        noise_repeats=repeats is not False,
        task_options=None if option is None else read_options(option),
        seed=seed or 0,
        precision=precision or default_precision(loaded.settings, where),
    )
    kept = EvaluationStore(path, anew=force)
    evaluate_memory(loaded, settings, kept, where, output_format, probe=probe, twins=twins)


def task_of(checkpoint: Path) -> str:
    """What a checkpoint was trained on.

    Raises:
        BadInput: not a checkpoint, or of no task there is.
    """
    from rmtscale.study.tasks.catalog import TASKS
    from rmtscale.study.training.language.settings import LANGUAGE_TASKS
    from rmtscale.study.training.memory_tasks.checkpoint import read_meaning

    task = read_meaning(checkpoint).get("task")
    known = (*TASKS, *LANGUAGE_TASKS)
    if task not in known:
        raise BadInput(
            f"checkpoint {str(checkpoint)!r} is of the task {task!r}: expected {quoted_list(known)}"
        )
    return str(task)


def refuse(given: Mapping[str, object], kind: str, task: str) -> None:
    """Raises ``BadInput`` where an option was given that only another kind of task has."""
    for name, value in given.items():
        if value is not None:
            raise BadInput(f"--{name}: expected with {kind} only, this checkpoint is of {task}")


def _history(text: str) -> int:
    return 0 if text.strip() == "0" else parse_size(text, "history")


def default_precision(settings: LoopSettings, device: Any) -> str:
    """As it was trained; a CPU has no bf16."""
    return "fp32" if device.type == "cpu" else settings.precision
