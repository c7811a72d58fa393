"""A worker on a sweep of many points that are not measured: each takes a moment."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from rmtscale.processes import follow_parent
from rmtscale.profiler.shared_sweep import run_shared
from rmtscale.profiler.sweep import Sweep
from rmtscale.profiler.worker import Said
from rmtscale.records.measurement import Measurement
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol
from rmtscale.records.store import RecordStore
from tests.synthetic.cpu import cpu_point, cpu_record


def sweep_of(points: int) -> Sweep:
    return Sweep(points=tuple(cpu_point(tokens=16 * (1 + number)) for number in range(points)))


def main() -> None:
    follow_parent()
    out, points, longest = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    measured = cpu_record().measured

    def measure(_: Point, __: Protocol, ___: object) -> Measurement:
        time.sleep(longest * random.random())
        return measured

    run_shared(sweep_of(points), RecordStore(out), Said(), measure=measure, poll_seconds=0.02)


if __name__ == "__main__":
    main()
