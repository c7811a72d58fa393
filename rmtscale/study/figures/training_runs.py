"""Trains what a figure needs and is not trained yet, then evaluates what is not evaluated yet.

Both go on where they were stopped. Several trainings may run side by side, each in a process of its
own; on a machine with several GPUs they are dealt out in turn. With a GPU each is a process even
where they run one after another: in one process, what an earlier one leaves allocated was in its
peak (it grew from training to training; workspaces of captured streams are the likely cause).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmtscale.errors import CheckFailed
from rmtscale.files import write_whole
from rmtscale.records.store import Store
from rmtscale.study.evaluation.naming import digest
from rmtscale.study.figures.memory_tasks.recipes import Plan
from rmtscale.study.figures.side_by_side import Job, count_gpus, run_jobs
from rmtscale.study.records.dead_band import plain
from rmtscale.study.records.evaluation import EvaluationRecord, EvaluationStore
from rmtscale.study.training.language.settings import LanguageSettings
from rmtscale.study.training.layout import BEST, CACHE, LAST, SETTINGS
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.pace import steps_within
from rmtscale.study.training.settings import LoopSettings
from rmtscale.study.training.settings_file import require_same
from rmtscale.units import format_accuracy, format_tokens

if TYPE_CHECKING:
    from rmtscale.study.training.loop import Observer

LOG = "training.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """Where and how trainings run."""

    runs: Path
    """Folder with a folder for each."""
    background: str = "python"
    """Noise of the memory tasks."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Sources of the language tasks, by the name their recipes have for them."""
    device: str | None = None
    jobs: int = 1
    """Side by side; 1 without a GPU trains in this process."""
    max_seconds: float | None = None
    """Of this call, training only."""
    finish_within: float | None = None
    """Move the ends of the trainings so that they are done in about so many seconds."""
    say: Callable[[str], None] = lambda text: None  # noqa: ARG005
    observer: Callable[[str], Observer | None] = lambda name: None  # noqa: ARG005


Recipes = Mapping[str, LoopSettings]


def unfinished(recipes: Recipes, runs: Path) -> list[str]:
    """Recipes whose training is not done."""
    return [name for name in recipes if not (runs / name / LAST).is_dir()]


def train_all(recipes: Recipes, how: How) -> list[str]:
    """Trains until all is done or the time is up; what another begins with comes first.

    Returns:
        The recipes that are still not done.

    Raises:
        CheckFailed: a training failed; its log says why.
    """
    for name, settings in recipes.items():
        if (how.runs / name / SETTINGS).is_file():
            # Ends may have been moved together (``finish_within``); what language compares may not.
            fixed = isinstance(settings, LanguageSettings)
            require_same(how.runs / name / SETTINGS, settings, steps_too=fixed)
    todo = unfinished(recipes, how.runs)
    if not todo:
        return []
    how.say(f"training {', '.join(todo)}")
    began = time.monotonic()
    if how.jobs > 1 or count_gpus(how.device):
        _side_by_side(recipes, todo, how)
        return unfinished(recipes, how.runs)
    from rmtscale.study.training.loop import train

    for name in todo:
        left = None if how.max_seconds is None else how.max_seconds - (time.monotonic() - began)
        if left is not None and left <= 0:
            break
        settings, folder = recipes[name], how.runs / name
        if how.finish_within is not None:
            steps = steps_within(folder, how.finish_within, settings.log_every)
            settings = replace(settings, steps=steps)
        result = train(
            settings,
            folder,
            device=how.device,
            max_seconds=left,
            cache=how.runs / CACHE,
            observer=how.observer(name),
        )
        if not result.finished:
            break  # the time is up, and the next one may need this one
    return unfinished(recipes, how.runs)


def training_command(
    name: str, settings: LoopSettings, how: How, max_seconds: float | None
) -> list[str]:
    """The command of one training whose settings are in its folder, as it may be given by hand."""
    folder = how.runs / name
    command = [sys.executable, "-m", "rmtscale", "train", "--out", str(folder)]
    if isinstance(settings, LanguageSettings):
        command += ["--cache", str(how.runs / CACHE)]
    if how.device is not None:
        command += ["--device", how.device]
    if max_seconds is not None:
        command += ["--max-seconds", str(max(int(max_seconds), 1))]
    if how.finish_within is not None:
        command += ["--finish-within", str(int(how.finish_within))]
    return command


def _side_by_side(recipes: Recipes, todo: Sequence[str], how: How) -> None:
    def job(name: str) -> Job:
        settings, folder = recipes[name], how.runs / name

        def command(left: float | None) -> list[str]:
            if not (folder / SETTINGS).is_file():
                write_whole(folder / SETTINGS, settings.to_json())
            return training_command(name, settings, how, left)

        return Job(name, command, folder / LOG, lambda: _may_start(settings))

    failed = run_jobs(
        [job(name) for name in todo],
        how.jobs,
        gpus=count_gpus(how.device),
        seconds=how.max_seconds,
    )
    if failed:
        raise CheckFailed(
            f"training of {', '.join(failed)} failed: see {LOG} in {how.runs / failed[0]}"
        )


def _may_start(settings: LoopSettings) -> bool:
    return settings.init_from is None or Path(settings.init_from).is_dir()


@dataclass(frozen=True, slots=True)
class Asked:
    """A checkpoint and what it is asked, as options of ``rmtscale evaluate``."""

    checkpoint: Path
    segments: tuple[int, ...]
    options: tuple[str, ...]


def evaluate_beside(asked: Mapping[str, Asked], how: How, store: Store[Any]) -> None:
    """Where there is a GPU: evaluates what is not in the store, each in a process of its own.

    One at a time on a GPU, because speed is measured; on several only where there are several jobs.
    Without a GPU nothing is done: what is missing then is evaluated in turn.

    Args:
        asked: by name of the training and checkpoint.
        how: where the trainings are.
        store: of the records; a process adds its own.

    Raises:
        CheckFailed: one failed; its log says why.
    """
    at_once = min(how.jobs, count_gpus(how.device))
    if not at_once:
        return
    known = {(one.point.weights, one.point.segments) for one in plain(store.read().records)}
    jobs = []
    for name, one in asked.items():
        weights = digest(one.checkpoint)
        if all((weights, count) in known for count in one.segments):
            continue
        lengths = ",".join(str(count) for count in one.segments)
        command = [sys.executable, "-m", "rmtscale", "evaluate", str(one.checkpoint)]
        command += ["--segments", lengths, "--out", str(store.path), *one.options]
        log = how.runs / f"evaluation-{name.replace(' ', '-')}.log"
        jobs.append(Job(name, partial(_as_given, command), log))
    if jobs:
        how.say(f"evaluating {', '.join(job.name for job in jobs)}")
    failed = run_jobs(jobs, at_once, gpus=at_once)
    if failed:
        log = next(job.log for job in jobs if job.name == failed[0])
        raise CheckFailed(f"evaluation of {', '.join(failed)} failed: see {log}")


def _as_given(command: list[str], left: float | None) -> list[str]:
    """Evaluations have no limit."""
    del left
    return command


def as_options(values: Mapping[str, object]) -> tuple[str, ...]:
    """``--samples 64 --batch-size 32``; what is None is left out."""
    pairs = ((f"--{name}", str(value)) for name, value in values.items() if value is not None)
    return tuple(word for pair in pairs for word in pair)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A training and one of its checkpoints, evaluated."""

    recipe: str
    settings: MemoryTaskSettings
    records: tuple[EvaluationRecord, ...]


def evaluate_all(
    plan: Plan, how: How, store: EvaluationStore, checkpoints: Callable[[Path], dict[str, Path]]
) -> list[Evaluated]:
    """Evaluates checkpoints of all trainings at all lengths.

    Args:
        plan: trainings, lengths, samples.
        how: where the trainings are.
        store: of the records.
        checkpoints: the checkpoints of a training's folder that are wanted, by name.
    """
    from rmtscale.study.evaluation.evaluate import EvaluationSettings, evaluate
    from rmtscale.study.training.device import find_device
    from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint

    device: Any = find_device(how.device)
    kept = {name: checkpoints(how.runs / name) for name in plan.recipes}
    options = {
        "samples": plan.samples,
        "long-samples": plan.long_samples,
        "batch-size": plan.batch_size,
        "background": how.background,
    }
    asked_of = {
        f"{name} {label}": Asked(folder, plan.segments, as_options(options))
        for name, folders in kept.items()
        for label, folder in folders.items()
    }
    evaluate_beside(asked_of, how, store)
    found = []
    for name, settings in plan.recipes.items():
        records: list[EvaluationRecord] = []
        for label, folder in kept[name].items():
            asked = EvaluationSettings(
                segments=plan.segments,
                samples=plan.samples,
                long_samples=plan.long_samples,
                batch_size=plan.batch_size,
                background=how.background,
                precision="fp32" if device.type == "cpu" else settings.precision,
            )

            def observe(
                record: EvaluationRecord, known: bool, where: str = f"{name} {label}"
            ) -> None:
                if not known:
                    how.say(
                        f"{where}, {format_tokens(record.point.segments)} segments: "
                        f"{format_accuracy(record.accuracy)}"
                    )

            loaded = load_checkpoint(folder, settings.task)
            records += evaluate(loaded, asked, store, device=device, observe=observe)
        found.append(Evaluated(name, settings, tuple(records)))
    return found


def best_checkpoint(folder: Path) -> dict[str, Path]:
    """The best one of a training; the last where none was validated."""
    return {"best": folder / BEST if (folder / BEST).is_dir() else folder / LAST}
