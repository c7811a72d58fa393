"""Times steps by two clocks: CUDA events around each, and the host's clock from sync to sync."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from rmtscale.records.measurement import Samples
from rmtscale.records.record import Protocol

FEWEST = 3
"""Steps that are timed however long they take: a median of fewer says nothing."""


def time_steps(
    step: Callable[[], None], protocol: Protocol, *, cuda: bool
) -> tuple[Samples | None, Samples | None]:
    """Measures ``(event time, wall time)`` of each step; no event time on a CPU."""
    return _cuda(step, protocol) if cuda else (None, Samples.of(_wall(step, protocol)))


def _wall(step: Callable[[], None], protocol: Protocol) -> tuple[float, ...]:
    seconds: list[float] = []
    begun = perf_counter()
    while _goes_on(len(seconds), begun, protocol):
        start = perf_counter()
        step()
        seconds.append(perf_counter() - start)
    return tuple(seconds)


def _cuda(step: Callable[[], None], protocol: Protocol) -> tuple[Samples | None, Samples | None]:
    import torch

    events: list[float] = []
    walls: list[float] = []
    event: Any = torch.cuda.Event
    begun = perf_counter()
    while _goes_on(len(walls), begun, protocol):
        first, last = (event(enable_timing=True) for _ in range(2))
        # Nothing is under way when the clock starts, nothing when it stops.
        torch.cuda.synchronize()
        start = perf_counter()
        first.record()
        step()
        last.record()
        torch.cuda.synchronize()
        walls.append(perf_counter() - start)
        events.append(first.elapsed_time(last) / 1000)
    return Samples.of(tuple(events)), Samples.of(tuple(walls))


def _goes_on(done: int, begun: float, protocol: Protocol) -> bool:
    if done >= protocol.repeats:
        return False
    return done < FEWEST or perf_counter() - begun < protocol.timing_seconds
