"""The host's speed: the time of a fixed loop of Python, taken beside every measurement.

A step of many small kernels is as long as the host takes to start them, and the same host was seen
at half its speed within minutes. The loop says which of the two it was.
"""

from __future__ import annotations

from time import perf_counter

_TURNS = 1000
_REPEATS = 15
DRIFT = 1.2
"""Two loops whose times differ by this factor were not run by the same host, as it were."""


def loop_seconds() -> float:
    """Returns the shortest of a few runs of the loop."""
    return min(_once() for _ in range(_REPEATS))


def _once() -> float:
    start = perf_counter()
    turn = 0
    while turn < _TURNS:
        turn += 1
    return perf_counter() - start


def drifted(before: float, after: float) -> bool:
    """Whether the host changed its speed between two loops."""
    return max(before, after) > DRIFT * min(before, after)
