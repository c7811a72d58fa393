"""``python -m rmtscale.profiler.worker``: one of several processes that measure one sweep.

Reads the sweep as JSON from standard input (``request_of``) and takes points of it until none is
left. A job of a cluster calls ``work`` with the same text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rmtscale.processes import follow_parent
from rmtscale.profiler.prediction import this_machine
from rmtscale.profiler.shared_sweep import run_shared
from rmtscale.profiler.sweep import Sweep
from rmtscale.readers import load_json
from rmtscale.records.mapping import from_mapping, to_mapping
from rmtscale.records.point import Point
from rmtscale.records.record import Record
from rmtscale.records.store import RecordStore


class Said:
    """Writes a line for each point to standard error, which is a job's log."""

    def begin(self, todo: Sequence[Point], done: int) -> None:
        self._say(f"{len(todo)} points to measure, {done} are")

    def point(self, point: Point) -> None:
        self._say(f"{point.tokens} tokens, {point.title()}")

    def stage(self, stage: str) -> None:
        pass

    def record(self, record: Record) -> None:
        self._say(record.measured.outcome)

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")


def request_of(sweep: Sweep, out: Path, predict_for: str | None, *, retry: bool) -> str:
    """Returns all that a worker has to know, as JSON."""
    return json.dumps(
        {
            "sweep": to_mapping(sweep),
            "out": str(out.absolute()),
            "predict_for": predict_for,
            "retry": retry,
        }
    )


def work(request: str) -> None:
    """Measures points of a sweep until none is left.

    Args:
        request: what ``request_of`` returned.
    """
    asked = load_json(request)
    sweep = from_mapping(Sweep, asked["sweep"])
    machine = this_machine(sweep.points[0].device, asked["predict_for"])
    store = RecordStore(Path(asked["out"]))
    run_shared(sweep, store, Said(), machine=machine, retry=asked["retry"])


if __name__ == "__main__":
    follow_parent()
    work(sys.stdin.read())
