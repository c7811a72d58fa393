"""Trains what a figure needs and is not trained yet.

A training goes on where it was stopped. Several trainings may run side by side, each in a process
of its own; on a machine with several GPUs they are dealt out in turn. With a GPU each is a process
even where they run one after another: in one process, what an earlier one leaves allocated was in
its peak (it grew from training to training; workspaces of captured streams are the likely cause).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rmtscale.errors import CheckFailed
from rmtscale.files import write_whole
from rmtscale.study.figures.side_by_side import Job, count_gpus, run_jobs
from rmtscale.study.training.language.settings import LanguageSettings
from rmtscale.study.training.layout import CACHE, LAST, SETTINGS
from rmtscale.study.training.settings import LoopSettings
from rmtscale.study.training.settings_file import require_same

if TYPE_CHECKING:
    from rmtscale.study.training.loop import Observer

LOG = "training.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSetup:
    """Where the trainings of a figure lie and how they run."""

    folder: Path
    """Holds a folder for each training."""
    background: str = "python"
    """Noise of the memory tasks."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Sources of the language tasks, by the name their recipes have for them."""
    backbone: str | None = None
    """Pretrained weights of the recipes that name none."""
    device: str | None = None
    """``cuda`` or ``cpu``; None is the GPU where there is one."""
    jobs: int = 1
    """Trainings side by side; a single job without a GPU trains in this process."""
    max_seconds: float | None = None
    """Time for training, of this call."""
    finish_within: float | None = None
    """Seconds within which all trainings are to end; their last steps move to fit."""
    announce: Callable[[str], None] = lambda text: None  # noqa: ARG005
    """Takes one line on what is done next."""
    observer: Callable[[str], Observer | None] = lambda name: None  # noqa: ARG005
    """Makes what watches the training of this name, where it runs in this process."""


Recipes = Mapping[str, LoopSettings]


def unfinished(recipes: Recipes, runs: Path) -> list[str]:
    """Lists the recipes whose training is not done."""
    return [name for name in recipes if not (runs / name / LAST).is_dir()]


def require_trained(recipes: Recipes, setup: TrainingSetup) -> None:
    """Trains until all is done.

    Raises:
        CheckFailed: a training failed, or the time was up before all were done.
    """
    remaining = train_all(recipes, setup)
    if remaining:
        raise CheckFailed(
            f"time is up, {len(remaining)} of {len(recipes)} trainings are not done "
            f"({', '.join(remaining)}); the same command goes on"
        )


def train_all(recipes: Recipes, setup: TrainingSetup) -> list[str]:
    """Trains until all is done or the time is up; what another begins with comes first.

    Returns:
        The recipes that are still not done.

    Raises:
        CheckFailed: a training failed; its log says why.
    """
    for name, settings in recipes.items():
        if (setup.folder / name / SETTINGS).is_file():
            # Ends may have been moved together (``finish_within``); what language compares may not.
            fixed = isinstance(settings, LanguageSettings)
            require_same(setup.folder / name / SETTINGS, settings, steps_too=fixed)
    todo = unfinished(recipes, setup.folder)
    if not todo:
        return []
    setup.announce(f"training {', '.join(todo)}")
    began = time.monotonic()
    if setup.jobs > 1 or count_gpus(setup.device):
        _side_by_side(recipes, todo, setup)
        return unfinished(recipes, setup.folder)
    for number, name in enumerate(todo):
        left = None if setup.max_seconds is None else setup.max_seconds - (time.monotonic() - began)
        if left is not None and left <= 0:
            break
        share = _share_of_time(setup, began, len(todo) - number)
        if not _train_here(name, recipes[name], setup, left, share):
            break  # the time is up, and the next one may need this one
    return unfinished(recipes, setup.folder)


def _train_here(
    name: str, settings: LoopSettings, setup: TrainingSetup, left: float | None, share: float | None
) -> bool:
    """Trains in this process; returns whether it is done.

    Args:
        left: seconds after which it stops.
        share: seconds within which it is to end.
    """
    from rmtscale.study.training.loop import train
    from rmtscale.study.training.within import ending_within

    folder = setup.folder / name
    run = partial(
        train,
        folder=folder,
        device=setup.device,
        cache=setup.folder / CACHE,
        observer=setup.observer(name),
    )
    if share is not None:
        begun = settings
        settings = ending_within(begun, folder, share, lambda: run(begun, max_seconds=0.0).finished)
    return run(settings, max_seconds=left).finished


def _share_of_time(setup: TrainingSetup, began: float, rounds: int) -> float | None:
    """Returns the seconds of the next training, where so many are to end one after another."""
    if setup.finish_within is None:
        return None
    return max(setup.finish_within - (time.monotonic() - began), 0.0) / rounds


def training_command(
    name: str,
    settings: LoopSettings,
    setup: TrainingSetup,
    max_seconds: float | None,
    finish_within: float | None = None,
) -> list[str]:
    """Returns the command of a training whose settings lie in its folder, as given by hand."""
    folder = setup.folder / name
    command = [sys.executable, "-m", "rmtscale", "train", "--out", str(folder)]
    if isinstance(settings, LanguageSettings):
        command += ["--cache", str(setup.folder / CACHE)]
    if setup.device is not None:
        command += ["--device", setup.device]
    if max_seconds is not None:
        command += ["--max-seconds", str(max(int(max_seconds), 1))]
    if finish_within is not None:
        command += ["--finish-within", str(int(finish_within))]
    return command


def _side_by_side(recipes: Recipes, todo: Sequence[str], setup: TrainingSetup) -> None:
    began, waiting = time.monotonic(), set(todo)

    def job(name: str) -> Job:
        settings, folder = recipes[name], setup.folder / name

        def command(left: float | None) -> list[str]:
            if not (folder / SETTINGS).is_file():
                write_whole(folder / SETTINGS, settings.to_json())
            share = _share_of_time(setup, began, -(-len(waiting) // setup.jobs))
            waiting.discard(name)
            return training_command(name, settings, setup, left, share)

        return Job(name, command, folder / LOG, lambda: _may_start(settings))

    failed = run_jobs(
        [job(name) for name in todo],
        setup.jobs,
        gpus=count_gpus(setup.device),
        seconds=setup.max_seconds,
    )
    if failed:
        raise CheckFailed(
            f"training of {', '.join(failed)} failed: see {LOG} in {setup.folder / failed[0]}"
        )


def _may_start(settings: LoopSettings) -> bool:
    return settings.init_from is None or Path(settings.init_from).is_dir()
