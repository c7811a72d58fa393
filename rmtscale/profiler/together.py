"""One point that several processes share: a child for each, and one measurement of all of them.

The children find each other by a file. Where one fails, the others would wait for it until the
point's time is over: they are ended a moment later.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from queue import Empty, Queue

from rmtscale.profiler.ranks import Place
from rmtscale.profiler.spawn import CHILD, Child
from rmtscale.records.measurement import Measurement, RankMeasurement, Samples
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol

GRACE_SECONDS = 5.0
"""Time for the others to say how they failed themselves."""
_WORST = ("oom", "crashed", "timeout")


def processes_of(point: Point) -> int:
    """Returns how many processes measure a point."""
    return 1 if point.layout is None else point.layout.gpus


def measure_in_children(
    point: Point,
    protocol: Protocol,
    *,
    command: Sequence[str] = CHILD,
    report: Callable[[str], None] = lambda _stage: None,
) -> Measurement:
    """Starts a child for each process of the point's layout; see ``measure_together``."""
    with ExitStack() as held:
        children = [
            held.enter_context(Child(point.device, command)) for _ in range(processes_of(point))
        ]
        return measure_together(children, point, protocol, report)


def measure_together(
    children: Sequence[Child],
    point: Point,
    protocol: Protocol,
    report: Callable[[str], None] = lambda _stage: None,
) -> Measurement:
    """Hands the point to all children and puts their answers together.

    Args:
        children: one for each process of the point's layout, in the order of their ranks.
        point: has a layout.
        protocol: how it is measured.
        report: is told the stage that the first child is in.

    Returns:
        The measurement of all, see ``merged``; of a failure the one that failed first.
    """
    answered: Queue[tuple[int, Measurement | BaseException]] = Queue()
    answers: dict[int, Measurement] = {}

    def ask(rank: int, child: Child, store: str) -> None:
        try:
            answer = child.measure(
                point,
                protocol,
                report=report if rank == 0 else lambda _stage: None,
                place=Place(rank=rank, size=len(children), store=store),
            )
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            answered.put((rank, error))
        else:
            answered.put((rank, answer))

    def hear(seconds: float | None = None) -> Measurement:
        rank, answer = answered.get(timeout=seconds)
        if isinstance(answer, BaseException):
            raise answer
        answers[rank] = answer
        return answer

    with tempfile.TemporaryDirectory(prefix="rmtscale-ranks-") as folder:
        try:
            store = str(Path(folder) / "store")
            for rank, child in enumerate(children):
                threading.Thread(target=ask, args=(rank, child, store), daemon=True).start()
            while len(answers) < len(children) and hear().outcome == "ok":
                pass
            until = time.monotonic() + GRACE_SECONDS
            with suppress(Empty):
                while len(answers) < len(children):
                    hear(max(until - time.monotonic(), 0))
        finally:
            for child in children:
                child.kill()
        ended = set(range(len(children))) - answers.keys()
        while len(answers) < len(children):
            hear()
    return merged([answers[rank] for rank in range(len(children))], ended)


def merged(answers: Sequence[Measurement], ended: frozenset[int] | set[int]) -> Measurement:
    """Returns one measurement of all processes.

    Args:
        answers: of each process, by rank.
        ended: ranks that were ended because another one had failed.

    Returns:
        The first one's, with the longest time of any process in each step, the memory of the one
        that peaked highest, and all of them apart in ``ranks``; or the failure, and whose it was.
    """
    failed = [
        (_WORST.index(one.outcome), rank, one)
        for rank, one in enumerate(answers)
        if one.outcome in _WORST and rank not in ended
    ]
    if failed:
        _, rank, worst = min(failed, key=lambda one: one[:2])
        return replace(worst, error=f"rank {rank}: {worst.error}", memory=None)
    first = answers[0]
    highest = max(answers, key=lambda one: (one.memory and one.memory.model_bytes) or 0)
    ranks = tuple(
        RankMeasurement(
            rank=rank,
            memory=one.memory,
            event_time=one.event_time,
            wall_time=one.wall_time,
            sent=one.sent,
        )
        for rank, one in enumerate(answers)
    )
    energy = [one.energy_joules for one in answers]
    return replace(
        first,
        event_time=_longest([one.event_time for one in answers]),
        wall_time=_longest([one.wall_time for one in answers]),
        host_time=_longest([one.host_time for one in answers]),
        memory=highest.memory,
        energy_joules=sum(one for one in energy if one) if all(energy) else None,
        ranks=ranks,
    )


def _longest(clocks: Sequence[Samples | None]) -> Samples | None:
    """Returns step by step the longest of all processes."""
    known = [clock.seconds for clock in clocks if clock is not None]
    if len(known) < len(clocks):
        return None
    return Samples.of(tuple(max(steps) for steps in zip(*known, strict=True)))
