"""Commands side by side, each a process of its own, dealt out over the GPUs of the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rmtscale.processes import Process, start, stop_all

POLL_SECONDS = 0.5


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Job:
    """One command."""

    name: str
    command: Callable[[float | None], list[str]]
    """Returns the command, given the seconds that are left; None is no limit."""
    log: Path
    """The file that its output is added to."""
    ready: Callable[[], bool] = _always
    """Whether what it needs is there."""


def count_gpus(device: str | None) -> int:
    """Counts the GPUs that may be used."""
    if device == "cpu":
        return 0
    import torch

    return torch.cuda.device_count()


def run_jobs(
    jobs: Sequence[Job], at_once: int, *, gpus: int, seconds: float | None = None
) -> list[str]:
    """Runs jobs in their order, each as soon as it is ready and there is room.

    Args:
        jobs: what to run.
        at_once: so many at a time.
        gpus: of several each job sees one, in turn.
        seconds: start no more after this; each is told what is left.

    Returns:
        The names of those that failed. What never was ready is not among them.
    """
    began = time.monotonic()
    waiting, running = list(jobs), dict[str, Process]()
    slots: dict[str, int] = {}
    failed: list[str] = []
    try:
        while waiting or running:
            left = None if seconds is None else seconds - time.monotonic() + began
            if left is not None and left <= 0:
                waiting.clear()
            while len(running) < at_once:
                job = next((candidate for candidate in waiting if candidate.ready()), None)
                if job is None:
                    break
                waiting.remove(job)
                slot = min(set(range(at_once)) - {slots[name] for name in running})
                slots[job.name] = slot
                running[job.name] = _start(job, left, slot, at_once, gpus)
            if waiting and not running:
                break  # what they need is not there, and nobody makes it
            for name, process in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    if process.returncode:
                        failed.append(name)
            time.sleep(POLL_SECONDS)
    finally:
        stop_all(running.values())
    return failed


def _start(job: Job, left: float | None, slot: int, at_once: int, gpus: int) -> Process:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    # One thread launches and one makes data; more would be in the others' way.
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // at_once)))
    if gpus > 1:
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        seen = given.split(",") if given else [str(gpu) for gpu in range(gpus)]
        environment["CUDA_VISIBLE_DEVICES"] = seen[slot % gpus]
    with job.log.open("ab") as log:
        return start(job.command(left), output=log, errors=log, environment=environment)
