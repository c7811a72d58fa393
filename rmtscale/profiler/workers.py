"""Several workers on one sweep: as processes of this machine, or as jobs of a SLURM cluster.

Both run ``rmtscale.profiler.worker``. Jobs are submitted by submitit (github.com/facebookincubator/
submitit), as one array; its folder lies beside the records and has the logs.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from rmtscale.errors import BadInput, MissingDependency
from rmtscale.processes import PYTHON, Process, ask, start, stop_all
from rmtscale.profiler.sweep import Observer, Sweep, outcomes_again
from rmtscale.profiler.worker import work
from rmtscale.records.claims import Claims, Finished, folder_of
from rmtscale.records.record import Record
from rmtscale.records.store import RecordStore

WORKER = (PYTHON, "-m", "rmtscale.profiler.worker")
_WHERE = re.compile(r"(local|slurm)(?::([1-9]\d{0,3}))?")
_LOOK_SECONDS, _LOADING_SECONDS = 0.5, 120.0
_CLEARING_SECONDS = 10.0
"""So long the last worker has to remove the claims once all records are in the file."""
_MOST_ON_ONE = 64

Ended = Callable[[], "list[str] | None"]
"""None while a worker runs; then the last line of each that failed."""


class Where(NamedTuple):
    """Where workers run, and how many."""

    kind: str
    workers: int


def parse_where(text: str) -> Where:
    """Reads ``local:4`` or ``slurm:16``; without a number it is one.

    Raises:
        BadInput: anything else.
    """
    found = _WHERE.fullmatch(text.strip().lower())
    count = int(found[2] or 1) if found else 0
    if not found or (found[1] == "local" and count > _MOST_ON_ONE):
        raise BadInput(f"on {text!r}: expected local:4 or slurm:16, workers on one sweep")
    return Where(found[1], count)


@contextmanager
def local_workers(
    count: int, request: str, *, gpus: bool, command: Sequence[str] = WORKER
) -> Iterator[Ended]:
    """Starts processes, each with one of the visible GPUs; leaving ends those that run.

    Args:
        request: what ``rmtscale.profiler.worker.request_of`` returned.
        gpus: the sweep is measured on GPUs.
    """
    visible = visible_gpus() if gpus else []
    running: list[Process] = []
    noise: list[IO[bytes]] = []
    with ExitStack() as stack:
        stack.callback(lambda: stop_all(running))
        for number in range(count):
            environment = dict(os.environ)
            if visible:
                environment["CUDA_VISIBLE_DEVICES"] = visible[number % len(visible)]
            noise.append(stack.enter_context(tempfile.TemporaryFile()))
            given = stack.enter_context(tempfile.TemporaryFile())
            given.write(request.encode())
            given.seek(0)
            running.append(
                start(
                    command,
                    input=given.fileno(),
                    output=noise[-1],
                    errors=noise[-1],
                    environment=environment,
                )
            )

        def ended() -> list[str] | None:
            codes = [one.poll() for one in running]
            if None in codes:
                return None
            return [_last_line(log) for log, code in zip(noise, codes, strict=True) if code]

        yield ended


@contextmanager
def slurm_workers(
    count: int, request: str, folder: Path, settings: Mapping[str, str]
) -> Iterator[Ended]:
    """Submits jobs; leaving cancels those that are no longer needed, an interrupt leaves them.

    Args:
        request: what ``rmtscale.profiler.worker.request_of`` returned.
        folder: of the logs, on a file system that the cluster's nodes share.
        settings: submitit's names of what sbatch takes, such as ``partition`` and ``time``.

    Raises:
        BadInput: no SLURM here, or a setting that it does not have.
        MissingDependency: no submitit.
    """
    if importlib.util.find_spec("submitit") is None:
        raise MissingDependency("--on slurm needs submitit: pip install 'rmtscale[slurm]'")
    if shutil.which("srun") is None:
        raise BadInput("on 'slurm': there is no srun here, expected a node of a SLURM cluster")
    import submitit

    executor = submitit.SlurmExecutor(folder=folder)
    numbers = {key: int(value) if value.isdigit() else value for key, value in settings.items()}
    try:
        executor.update_parameters(**{"job_name": "rmtscale", **numbers})
    except ValueError as error:
        names = ", ".join(sorted(settings))
        raise BadInput(
            f"slurm settings {names}: expected submitit's, such as partition, time (minutes), "
            "gpus_per_node, cpus_per_task, mem, account or qos"
        ) from error
    with executor.batch():
        jobs = [executor.submit(work, request) for _ in range(count)]

    def ended() -> list[str] | None:
        if not all(job.done() for job in jobs):
            return None
        failed = [job for job in jobs if job.exception() is not None]
        return [str(job.exception()).strip().splitlines()[-1] for job in failed]

    yield ended
    for job in jobs:
        if not job.done():
            with suppress(OSError):
                job.cancel()


def watch(
    sweep: Sweep, store: RecordStore, observer: Observer, ended: Ended, *, retry: bool
) -> None:
    """Tells of records as workers hand them in, until the file has all of them.

    Raises:
        BadInput: all workers ended before; says why the first one failed.
    """
    again = outcomes_again(retry=retry)
    before = store.read().latest()
    counted = {
        key: record for key, record in before.items() if record.measured.outcome not in again
    }
    todo = [point for point in sweep.in_order() if point.key not in counted]
    observer.begin(todo, len(sweep.points) - len(todo))
    wanted = {point.key for point in todo}
    claims = Claims(folder_of(store.path), lease_seconds=0)
    while True:
        over = ended()
        handed_in: list[Record] = []
        with suppress(Finished):
            handed_in = [store.parse_line(line) for line in claims.records()]
        there = store.read().latest()
        done = {key for key in wanted & set(there) if there[key] != before.get(key)}
        for record in (*handed_in, *(there[key] for key in sorted(done))):
            if record.key in wanted and record.key not in counted:
                counted[record.key] = record
                observer.record(record)
        if done == wanted:
            _let_clear(folder_of(store.path), ended)
            return
        if over is not None:
            missing = len(wanted - done)
            why = f": {over[0]}" if over else ""
            raise BadInput(
                f"{missing} of {len(wanted)} points were not measured, all workers ended{why}; "
                "expected the same command to go on from there"
            )
        time.sleep(_LOOK_SECONDS)


def _let_clear(claims: Path, ended: Ended) -> None:
    """Waits for the worker that wrote the file to remove the claims: who returns ends it."""
    until = time.monotonic() + _CLEARING_SECONDS
    while ended() is None and time.monotonic() < until:
        if not any(claims.parent.glob(f"{claims.name}*")):
            return
        time.sleep(_LOOK_SECONDS / 10)


def visible_gpus() -> list[str]:
    """Returns the GPUs that this process sees, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named:
        return [one.strip() for one in named.split(",") if one.strip()]
    code = (
        "from rmtscale.processes import follow_parent; follow_parent(); "
        "import torch; print(torch.cuda.device_count())"
    )
    found = ask([PYTHON, "-c", code], _LOADING_SECONDS)
    return [str(number) for number in range(int(found or 0))]


def _last_line(noise: IO[bytes]) -> str:
    noise.seek(0)
    lines = [line for line in noise.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
