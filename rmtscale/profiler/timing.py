"""Times steps by two clocks: CUDA events around each, and the host's clock from sync to sync."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

from rmtscale.records.measurement import Samples
from rmtscale.records.record import Protocol

FEWEST = 3
"""Steps that are timed however long they take: a median of fewer says nothing."""


Agree = Callable[[bool], bool]


class Timed(NamedTuple):
    """The clocks of the timed steps."""

    event: Samples | None
    """The device's; None on a CPU."""
    wall: Samples | None
    host: Samples | None = None
    """Until the host had started everything; None on a CPU, which does it itself."""


def time_steps(
    step: Callable[[], None],
    protocol: Protocol,
    *,
    cuda: bool,
    midway: Callable[[], None] = lambda: None,
    agree: Agree = lambda wanted: wanted,
) -> Timed:
    """Measures each step.

    Args:
        midway: is called once on a GPU, when a step has been started and not yet waited for.
        agree: whether any process that shares the steps wants one more; all of them begin it then.
    """
    if cuda:
        return _cuda(step, protocol, midway, agree)
    return Timed(None, Samples.of(_wall(step, protocol, agree)))


def _wall(step: Callable[[], None], protocol: Protocol, agree: Agree) -> tuple[float, ...]:
    seconds: list[float] = []
    begun = perf_counter()
    while agree(_goes_on(len(seconds), begun, protocol)):
        start = perf_counter()
        step()
        seconds.append(perf_counter() - start)
    return tuple(seconds)


def _cuda(
    step: Callable[[], None], protocol: Protocol, midway: Callable[[], None], agree: Agree
) -> Timed:
    import torch

    events: list[float] = []
    walls: list[float] = []
    hosts: list[float] = []
    event: Any = torch.cuda.Event
    begun = perf_counter()
    while agree(_goes_on(len(walls), begun, protocol)):
        first, last = (event(enable_timing=True) for _ in range(2))
        # Nothing is under way when the clock starts, nothing when it stops.
        torch.cuda.synchronize()
        start = perf_counter()
        first.record()
        step()
        last.record()
        hosts.append(perf_counter() - start)
        torch.cuda.synchronize()
        walls.append(perf_counter() - start)
        events.append(first.elapsed_time(last) / 1000)
    step()
    midway()
    torch.cuda.synchronize()
    return Timed(*(Samples.of(tuple(one)) for one in (events, walls, hosts)))


def _goes_on(done: int, begun: float, protocol: Protocol) -> bool:
    if done >= protocol.repeats:
        return False
    return done < FEWEST or perf_counter() - begun < protocol.timing_seconds
