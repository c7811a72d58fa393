"""Limits in seconds are meant for a usual machine; a slower one gets as much more as it is slower.

How slow it is, is measured beside each bench by work that has nothing to do with the project.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter

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


def _median_seconds(work: Callable[[], None]) -> float:
    seconds = []
    for _ in range(_ROUNDS):
        start = perf_counter()
        work()
        seconds.append(perf_counter() - start)
    return statistics.median(seconds)
