"""Evaluates the checkpoints behind a figure in processes of their own, where there are GPUs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rmtscale.errors import CheckFailed
from rmtscale.records.store import Store
from rmtscale.study.figures.side_by_side import Job, count_gpus, run_jobs
from rmtscale.study.figures.training_runs import TrainingSetup
from rmtscale.study.records.dead_band import plain


@dataclass(frozen=True, slots=True)
class CheckpointEvaluation:
    """A checkpoint and how it is evaluated, in the words of ``rmtscale evaluate``."""

    checkpoint: Path
    segments: tuple[int, ...]
    options: tuple[str, ...]


def as_options(values: Mapping[str, object]) -> tuple[str, ...]:
    """Writes ``--samples 64 --batch-size 32``; what is None is left out."""
    pairs = ((f"--{name}", str(value)) for name, value in values.items() if value is not None)
    return tuple(word for pair in pairs for word in pair)


def evaluate_on_gpus(
    evaluations: Mapping[str, CheckpointEvaluation], setup: TrainingSetup, store: Store[Any]
) -> None:
    """Evaluates what is not in the store, each checkpoint in a process of its own.

    One at a time on a GPU, because speed is measured; on several GPUs only where there are several
    jobs. Without a GPU nothing is done: what is missing then is evaluated in turn.

    Args:
        evaluations: by name of the training and checkpoint.
        setup: where they were trained.
        store: of the records; a process adds its own.

    Raises:
        CheckFailed: an evaluation failed; its log says why.
    """
    at_once = min(setup.jobs, count_gpus(setup.device))
    if not at_once:
        return
    from rmtscale.study.training.checkpoint import weights_digest

    known = {
        (record.point.weights, record.point.segments) for record in plain(store.read().records)
    }
    jobs = []
    for name, evaluation in evaluations.items():
        weights = weights_digest(evaluation.checkpoint)
        if all((weights, count) in known for count in evaluation.segments):
            continue
        lengths = ",".join(str(count) for count in evaluation.segments)
        command = [sys.executable, "-m", "rmtscale", "evaluate", str(evaluation.checkpoint)]
        command += ["--segments", lengths, "--out", str(store.path), *evaluation.options]
        log = setup.folder / f"evaluation-{name.replace(' ', '-')}.log"
        jobs.append(Job(name, partial(_as_given, command), log))
    if jobs:
        setup.announce(f"evaluating {', '.join(job.name for job in jobs)}")
    with store.writing():  # they write in the name of this process
        failed = run_jobs(jobs, at_once, gpus=at_once)
    if failed:
        log = next(job.log for job in jobs if job.name == failed[0])
        raise CheckFailed(f"evaluation of {', '.join(failed)} failed: see {log}")


def _as_given(command: list[str], seconds_left: float | None) -> list[str]:
    """Returns the command as it is: an evaluation has no limit."""
    del seconds_left
    return command
