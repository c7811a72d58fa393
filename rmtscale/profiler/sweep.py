"""Points one after another, each in its own process, each on the disk before the next begins.

A sweep goes on where it stopped: a point that is in the file already is not measured again. When
one length of a series runs out of memory or time, the longer ones are recorded as skipped. One
point is measured twice (the A/A pair): what the two differ by is noise.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol as Interface

from rmtscale.costs.flops import estimate_flops
from rmtscale.locks import sole_user
from rmtscale.profiler.prediction import Machine, never_fits, predict
from rmtscale.profiler.preload import Preloaded
from rmtscale.profiler.spawn import measure_in_child
from rmtscale.profiler.together import measure_in_children, processes_of
from rmtscale.records.environment import host_environment
from rmtscale.records.measurement import Measurement
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol, Record
from rmtscale.records.store import RecordStore
from rmtscale.units import format_tokens

ORDERS = ("random", "short-first")
_ENDS_A_SERIES = {"oom": "ran out of memory", "timeout": "ran out of time"}
Measure = Callable[[Point, Protocol, Callable[[str], None]], Measurement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The points of a sweep, and how they are measured."""

    points: tuple[Point, ...]
    """Each once; ``with_pair`` adds the second half of the A/A pair."""
    protocol: Protocol = field(default_factory=Protocol)
    seed: int = 0
    """The seed of the order."""
    order: str = "random"
    """``random``, or ``short-first``: by length, random among equals."""

    def with_pair(self) -> Sweep:
        """Returns the sweep with one point twice: the one in the middle by FLOPs."""
        if not self.points or any(point.replicate for point in self.points):
            return self

        def flops(point: Point) -> int:
            return estimate_flops(point.model, point.workload(), point.recurrence(), "matmul").total

        middle = sorted(self.points, key=flops)[(len(self.points) - 1) // 2]
        return replace(self, points=(*self.points, replace(middle, replicate=1)))

    @property
    def most_parts(self) -> int:
        """Parts that each have a point; an A/A pair stays together."""
        return sum(not point.replicate for point in self.points)

    def part(self, number: int, parts: int) -> Sweep:
        """Returns one of so many parts; the first is 1."""
        points = self.in_order()
        once = [point for point in points if not point.replicate]
        mine = set(once[number - 1 :: parts])
        kept = (point for point in points if replace(point, replicate=0) in mine)
        return replace(self, points=tuple(kept))

    def in_order(self) -> list[Point]:
        """Returns the points in the order of measuring; the same for the same seed."""
        points = list(self.points)
        random.Random(self.seed).shuffle(points)
        if self.order == "short-first":
            points.sort(key=lambda point: point.tokens)
        return points


class Observer(Interface):
    """Watches a sweep: a progress bar, plain lines, or a test."""

    def begin(self, todo: Sequence[Point], done: int) -> None:
        """Begins; ``done`` points of the sweep are in the file already."""

    def point(self, point: Point) -> None: ...

    def stage(self, stage: str) -> None: ...

    def record(self, record: Record) -> None: ...


def run_sweep(
    sweep: Sweep,
    store: RecordStore,
    observer: Observer,
    *,
    machine: Machine | None = None,
    retry: bool = False,
    measure: Measure | None = None,
) -> None:
    """Measures what the file does not have yet.

    Args:
        machine: what it is measured on: whose peaks the predicted time takes, and how much it
            holds (a model or a training state that is too large for it is not tried).
        retry: measure points again that crashed, ran out of time or were skipped; the file
            keeps both records, the later one counts.
        measure: measures one point; replaced by tests.

    Raises:
        BadInput: the file cannot be read or written, or another process writes it or measures on
            the same device; all that was measured before is in the file.
    """
    points = sweep.in_order()
    again = outcomes_again(retry=retry)
    with store.writing():
        known = store.read().latest()
        todo = [
            point
            for point in points
            if point.key not in known or known[point.key].measured.outcome in again
        ]
        observer.begin(todo, len(points) - len(todo))
        wanted = sum(processes_of(point) for point in todo if point.device == "cuda")
        with ExitStack() as held, Preloaded(wanted) as ready:
            for device in sorted({point.device for point in todo}):
                held.enter_context(sole_user(device))
            most = max((processes_of(one) for one in todo if one.device == "cuda"), default=0)
            for number in range(1, most):
                held.enter_context(sole_user("cuda", number))

            ask = measure or in_child(ready)
            for point in todo:
                observer.point(point)
                record = record_point(point, known.values(), sweep.protocol, observer, machine, ask)
                store.append(record)
                known[point.key] = record
                observer.record(record)


def outcomes_again(*, retry: bool) -> tuple[str, ...]:
    """Returns outcomes of which a point is measured once more."""
    return ("crashed", "timeout", "skipped") if retry else ()


def in_child(ready: Preloaded) -> Measure:
    """Returns what measures a point in a process of its own; on a GPU in one that has loaded."""

    def measure(point: Point, protocol: Protocol, say: Callable[[str], None]) -> Measurement:
        if point.device == "cuda":
            return ready.measure(point, protocol, say)
        if point.layout is not None:
            return measure_in_children(point, protocol, report=say)
        return measure_in_child(point, protocol, report=say)

    return measure


def record_point(
    point: Point,
    known: Iterable[Record],
    protocol: Protocol,
    observer: Observer,
    machine: Machine | None,
    measure: Measure,
) -> Record:
    """Measures one point, unless its series ended before it or the machine cannot hold it.

    Args:
        known: records of the sweep so far.
    """
    why = _ended_before(point, known)
    if why is None and machine is not None:
        why = never_fits(point, machine)
    if why:
        environment = host_environment()
        measured = Measurement(outcome="skipped", error=why, environment=environment)
    else:
        measured = measure(point, protocol, observer.stage)
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    device = None if machine is None else machine.device
    return Record.of(point, protocol, predict(point, device), measured, now)


def _ended_before(point: Point, records: Iterable[Record]) -> str | None:
    """How the series of this point ended at a shorter length, if it did."""
    for record in records:
        if (
            record.measured.outcome in _ENDS_A_SERIES
            and record.point.tokens < point.tokens
            and record.point.series == point.series
        ):
            ended = _ENDS_A_SERIES[record.measured.outcome]
            return f"{ended} at {format_tokens(record.point.tokens)} tokens already"
    return None
