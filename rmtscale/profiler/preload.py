"""Children for points on a GPU, started several at a time: loading is most of what a point takes.

Loading the libraries takes seconds of a core, measuring often less than one. So as many children
as the machine has cores for load side by side, and only when all of them have loaded is the first
point measured: nothing runs beside a measurement. An idle child has not touched the GPU yet; each
still measures one point and ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import monotonic

from rmtscale.profiler.child import LOAD
from rmtscale.profiler.spawn import CHILD, Child
from rmtscale.profiler.together import measure_together, processes_of
from rmtscale.records.measurement import Measurement
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol

AT_ONCE = 8
_LOADING_SECONDS = 120.0


class Preloaded:
    """``with Preloaded(points) as ready: ready.measure(point, protocol, report)``.

    Args:
        points: children that are wanted, one for each point and process; no more are started.
        at_once: children that load side by side; by default half of the cores, 8 at most.
    """

    def __init__(
        self,
        points: int,
        at_once: int | None = None,
        command: Sequence[str] = (*CHILD, LOAD),
    ) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        self._at_once = at_once or max(1, min(AT_ONCE, cores // 2))
        self._left, self._command = points, command
        """Children that are still wanted."""
        self._idle: list[Child] = []

    def __enter__(self) -> Preloaded:
        return self

    def __exit__(self, *_: object) -> None:
        while self._idle:
            self._idle.pop().end()

    def measure(
        self, point: Point, protocol: Protocol, report: Callable[[str], None]
    ) -> Measurement:
        """Measures one point in children that have loaded, one for each process that shares it.

        See ``Child.measure`` and ``measure_together``.
        """
        wanted = processes_of(point)
        if len(self._idle) < wanted:
            self._load(max(wanted, min(self._at_once, self._left)) - len(self._idle))
        self._left -= wanted
        with ExitStack() as held:
            children = [held.enter_context(self._idle.pop(0)) for _ in range(wanted)]
            if point.layout is not None:
                return measure_together(children, point, protocol, report)
            return children[0].measure(point, protocol, report=report)

    def _load(self, count: int) -> None:
        for _ in range(count):
            self._idle.append(Child("cuda", self._command))
        deadline = monotonic() + _LOADING_SECONDS
        for child in self._idle:
            child.wait_loaded(max(0.0, deadline - monotonic()))
