"""Limits in seconds are meant for a usual machine; a slower one gets as much more as it is slower.

How slow it is, is measured beside each bench by work that has nothing to do with the project.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

BARE_START_SECONDS = 0.020
"""Of an interpreter that does nothing, on a usual machine: a server core of 3 GHz or more."""
COUNTING_SECONDS = 0.015
"""Of ``_COUNTED`` steps of a Python loop, there."""
_COUNTED = 250_000
_ROUNDS = 7


def start_slowness() -> float:
    """How many times longer an interpreter takes to start and stop here; at least 1."""

    def start() -> None:
        subprocess.run([sys.executable, "-c", "pass"], check=True)

    return max(1.0, _median_seconds(start) / BARE_START_SECONDS)


def counting_slowness() -> float:
    """How many times longer Python takes to count here; at least 1."""

    def count() -> None:
        total, seen = 0, {}
        for step in range(_COUNTED):
            total += step
            seen[step & 1023] = total

    return max(1.0, _median_seconds(count) / COUNTING_SECONDS)


def best_seconds(
    benchmark: Any, work: Callable[[], object], within_seconds: float, rounds: int
) -> float:
    """The seconds of the best round; no further one is run once a round was fast enough.

    What the machine does beside it makes a round longer, never shorter: one within the limit tells.

    Args:
        benchmark: the fixture; it shows the first round.
        within_seconds: the limit.
        rounds: how many are run at most.
    """
    benchmark.pedantic(work, rounds=1)
    best: float = benchmark.stats.stats.min
    while best >= within_seconds and (rounds := rounds - 1):
        best = min(best, seconds_of(work))
    return best


def _median_seconds(work: Callable[[], None]) -> float:
    return statistics.median(seconds_of(work) for _ in range(_ROUNDS))


def seconds_of(work: Callable[[], object]) -> float:
    """How long a round takes."""
    start = perf_counter()
    work()
    return perf_counter() - start
