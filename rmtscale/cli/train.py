"""``rmtscale train``: an RMT learns one of the memory tasks, on this machine, resumably."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmtscale.cli import options
from rmtscale.cli.output import require_format, write_line, write_rows, write_table
from rmtscale.errors import BadInput, MissingDependency
from rmtscale.units import format_accuracy, format_seconds, format_tokens, parse_size, parse_sizes

if TYPE_CHECKING:
    from rmtscale.training.loop import Result
    from rmtscale.training.settings import TrainingSettings

NEEDED = ("torch", "transformers", "accelerate", "safetensors")


def command(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder of the training; the same command goes on there."),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(help="Settings of an experiment, such as memorize-0; options change them."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="memorize, detect-memorize or reasoning.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Of the task, NAME=VALUE, such as persons=3; may be given again."),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(help="Noise: python, a folder or .jsonl.gz of text.  (default: python)"),
    ] = None,
    segments: Annotated[
        int | None, typer.Option(help="Of the longest stage.  (default: 7)")
    ] = None,
    segment_size: Annotated[
        str | None, typer.Option(help="Memory tokens included.  (default: 512)")
    ] = None,
    memory_tokens: Annotated[int | None, typer.Option(help="(default: 4)")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="gpt-neox-small, modernbert-small, bert-small, gpt2-small-random, *-tiny, or a "
            "pretrained checkpoint: a folder or hub name.  (default: gpt-neox-small)"
        ),
    ] = None,
    curriculum: Annotated[
        bool | None,
        typer.Option("--curriculum/--no-curriculum", help="From little noise and few segments on."),
    ] = None,
    roll_in: Annotated[
        str | None,
        typer.Option(help="Most segments without gradient, by last stage: 16,64,256; or none."),
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="All; may be another when going on.  (default: 20k)")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Sequences a step.  (default: 64)")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="(default: 3e-4)")] = None,
    seed: Annotated[int | None, typer.Option(help="(default: 0)")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any other setting, NAME=JSON, such as ema_decay=0.99; may be repeated."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cuda or cpu.  (default: the GPU if there is one)")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Stop after this with a state, to go on later.")
    ] = None,
    measure_busy: Annotated[
        bool,
        typer.Option("--measure-busy", help="Once a stage: share of the time the GPU computes."),
    ] = False,
    finish_within: Annotated[
        float | None,
        typer.Option(help="Move the end (and --steps) so that it is done in so many seconds."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew: the training in --out is lost.")
    ] = False,
    output_format: options.Format = "table",
) -> None:
    """Trains an RMT to remember facts across segments, from random initialisation or pretrained.

    A training that was stopped or killed goes on when the command is given again.
    Several GPUs of this machine: torchrun --nproc_per_node 2 -m rmtscale train ...

    Example: rmtscale train --task memorize --segments 3 --segment-size 64
    --backbone gpt-neox-tiny --steps 500 --learning-rate 2e-3 --out build/memorize
    """
    require_format(output_format)
    require_libraries("train")
    given = {
        "task": task,
        "task_options": None if option is None else read_options(option),
        "background": background,
        "segments": segments,
        "segment_size": None if segment_size is None else parse_size(segment_size, "segment size"),
        "memory_tokens": memory_tokens,
        "backbone": backbone,
        "curriculum": curriculum,
        "roll_in": None if roll_in is None else _roll_in(roll_in),
        "steps": None if steps is None else parse_size(steps, "steps"),
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        **dict(_pair(one, "set") for one in setting or []),
    }
    settings = _settings(recipe, {name: x for name, x in given.items() if x is not None})
    if force:
        forget(out)
    if finish_within is not None:
        from rmtscale.training.pace import steps_within

        settings = replace(settings, steps=steps_within(out, finish_within, settings.log_every))
    result = run_training(
        settings, out, device=device, max_seconds=max_seconds, measure_busy=measure_busy
    )
    if os.environ.get("RANK", "0") == "0":
        _write_result(settings, out, result, output_format)


def require_libraries(command_name: str) -> None:
    """Raises ``MissingDependency`` in the light installation."""
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise MissingDependency(f"{command_name} needs {name}: pip install 'rmtscale[measure]'")


def run_training(
    settings: TrainingSettings,
    out: Path,
    *,
    device: str | None,
    max_seconds: float | None,
    measure_busy: bool,
) -> Result:
    """``train``, watched; an interrupt says how to go on."""
    from rmtscale.cli.training_progress import watching
    from rmtscale.training.loop import train

    try:
        with watching() as observer:
            return train(
                settings,
                out,
                device=device,
                max_seconds=max_seconds,
                measure_busy=measure_busy,
                observer=observer,
            )
    except KeyboardInterrupt:
        write_line(f"the last state is in {out}; the same command goes on from there")
        raise


def forget(folder: Path) -> None:
    """Removes a training, and nothing else, from a folder."""
    from rmtscale.training.layout import BEST, LAST, METRICS, SETTINGS, STAGES, STATE

    if "RANK" in os.environ:
        raise BadInput(f"--force under torchrun: expected a new --out, not {str(folder)!r}")
    for name in (SETTINGS, STATE, METRICS):
        (folder / name).unlink(missing_ok=True)
    for name in (BEST, LAST, STAGES):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)


def _settings(recipe: str | None, given: dict[str, Any]) -> TrainingSettings:
    from rmtscale.records.mapping import Misfit, from_mapping, to_mapping
    from rmtscale.training.settings import TrainingSettings

    known = [field.name for field in fields(TrainingSettings)]
    for name in given:
        if name not in known or name == "schema_version":
            raise BadInput(f"setting {name!r}: expected one of {', '.join(known[1:])}")
    start = TrainingSettings() if recipe is None else _recipe(recipe)
    for name in ("segments", "roll_in"):
        if name in given and "validation_segments" not in given:
            given["validation_segments"] = _validated_at(start, given)
    try:
        return from_mapping(TrainingSettings, {**to_mapping(start), **given})
    except Misfit as error:
        raise BadInput(str(error).removeprefix("TrainingSettings: ")) from error


def _validated_at(start: TrainingSettings, given: dict[str, Any]) -> list[int]:
    """Lengths of a validation: the longest stage, and with a roll-in also a long one."""
    segments = given.get("segments", start.segments)
    roll_in = given.get("roll_in", start.roll_in)
    return [segments, max(64, segments)] if roll_in else [segments]


def _recipe(name: str) -> TrainingSettings:
    from rmtscale.experiments.memory_tasks import recipes
    from rmtscale.units import require_one_of

    known = recipes()
    require_one_of("recipe", name, known)
    return replace(known[name])


def read_options(texts: list[str]) -> dict[str, Any]:
    """Options of a task, each ``NAME=VALUE``."""
    return dict(_pair(one, "option") for one in texts)


def _pair(text: str, what: str) -> tuple[str, Any]:
    """``NAME=VALUE``, the value as JSON where it is JSON."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadInput(f"--{what} {text!r}: expected NAME=VALUE")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def _roll_in(text: str) -> list[int]:
    return [] if text.strip() == "none" else parse_sizes(text, "roll-in")


def _write_result(
    settings: TrainingSettings, out: Path, result: Result, output_format: str
) -> None:
    from rmtscale.training.layout import BEST, METRICS
    from rmtscale.training.metrics import read_metrics

    seen = read_metrics(out / METRICS)
    seconds = sum(one.seconds for one in seen)
    row = {
        "task": settings.task,
        "steps": result.step,
        "finished": result.finished,
        "stage": seen[-1].stage_name if seen else "",
        "training_accuracy": seen[-1].accuracy if seen else None,
        "best_validation_accuracy": result.best_accuracy if result.best_accuracy >= 0 else None,
        "seconds": seconds,
        "checkpoint": str(out / BEST),
    }
    if output_format != "table":
        write_rows([row], output_format)
        return
    best = row["best_validation_accuracy"]
    write_table(
        ["task", "steps", "stage", "best validation", "time"],
        [
            [
                settings.task,
                format_tokens(result.step),
                str(row["stage"]),
                "none yet" if best is None else format_accuracy(result.best_accuracy),
                format_seconds(seconds),
            ]
        ],
        text_columns=1,
    )
    if result.finished:
        write_line(f"done; evaluate it with: rmtscale evaluate {out / BEST} --segments 1,2,4")
    else:
        write_line(
            f"stopped at step {format_tokens(result.step)} of {format_tokens(settings.steps)}; "
            "the same command goes on"
        )
