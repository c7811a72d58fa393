"""Options of ``profile`` for several workers on one sweep: parts, claims, and where they run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import typer

from rmtscale.cli.given import as_given
from rmtscale.cli.output import write_note
from rmtscale.errors import BadInput
from rmtscale.profiler.sweep import Observer, Sweep
from rmtscale.profiler.worker import request_of
from rmtscale.profiler.workers import (
    Where,
    local_workers,
    parse_where,
    slurm_workers,
    watch,
)
from rmtscale.records.store import RecordStore

_PART = re.compile(r"([1-9]\d{0,4})/([1-9]\d{0,4})")

Part = Annotated[
    str | None,
    typer.Option(help="Many workers: one of several parts, as 2/8; each into a file of its own."),
]
Shared = Annotated[
    bool,
    typer.Option("--shared", help="Many workers: all of them with this option and the same --out."),
]
On = Annotated[
    str | None,
    typer.Option(help="Many workers: start them, local:4 or slurm:16, and wait for them."),
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(help="What sbatch takes, such as partition=gpu or time=60; can be repeated."),
]


def part_of(sweep: Sweep, text: str) -> Sweep:
    """Returns the part that ``--part`` names.

    Raises:
        BadInput: no such part.
    """
    found = _PART.fullmatch(text.strip())
    number, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not found or number > parts or parts > sweep.most_parts:
        raise BadInput(f"part {text!r}: expected such as 2/8, up to {sweep.most_parts} parts")
    return sweep.part(number, parts)


def chosen(
    on: str | None, slurm: Sequence[str] | None, *, shared: bool, force: bool, part: str | None
) -> Where | None:
    """Returns where workers are to be started; None: this process measures.

    Raises:
        BadInput: options that exclude each other.
    """
    where = None if on is None else parse_where(on)
    many = as_given("shared" if shared else "on")
    if force and (shared or where):
        raise BadInput(f"--force with {many}: expected a new --out, others may be at work on it")
    if part is not None and (shared or where):
        raise BadInput(
            f"{as_given('part')} with {many}: expected one of them, the latter takes points one by "
            "one"
        )
    if shared and where:
        raise BadInput(
            f"--shared with {as_given('on')}: expected one of them, --on starts such workers"
        )
    if slurm and (where is None or where.kind != "slurm"):
        raise BadInput(f"{as_given('slurm')}: expected with --on slurm")
    return where


def run_on(
    where: Where,
    sweep: Sweep,
    store: RecordStore,
    observer: Observer,
    slurm: Sequence[str] | None,
    *,
    predict_for: str | None,
    retry: bool,
) -> None:
    """Starts workers and tells of what they measure until all of it is in the file.

    Raises:
        BadInput: workers that cannot be started, or that all ended before.
        MissingDependency: no submitit, for ``slurm``.
    """
    request = request_of(sweep, store.path, predict_for, retry=retry)
    if where.kind == "local":
        gpus = any(point.device == "cuda" for point in sweep.points)
        with local_workers(where.workers, request, gpus=gpus) as ended:
            watch(sweep, store, observer, ended, retry=retry)
        return
    folder = store.path.parent / f"{store.path.name}.slurm"
    with slurm_workers(where.workers, request, folder, _settings(slurm or ())) as ended:
        write_note(f"{where.workers} jobs are submitted; their logs are in {folder}")
        watch(sweep, store, observer, ended, retry=retry)


def _settings(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key.strip() or not equals:
            raise BadInput(f"slurm {text!r}: expected KEY=VALUE, such as partition=gpu")
        found[key.strip().replace("-", "_")] = value.strip()
    return found
