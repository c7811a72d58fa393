"""Latency and bandwidth of links from collectives that were measured by size.

A call takes its latency and the bytes that a rank sends over the bandwidth. Both are moved until
the times are nearest to the shortest measured ones (least mean of ``|log(predicted / measured)|``);
how far single sizes are from it is the spread, its slow end that of usual calls, not the shortest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rmtscale.costs.time.measured import MeasuredCollective
from rmtscale.errors import BadInput
from rmtscale.specs.link_speed import LinkSpeed, wire_share
from rmtscale.specs.spread import Spread

_STEPS = (1.3, 1.1, 1.03, 1.01, 1.003)
_LEAST_SIZES = 3


def fit_links(measured: Iterable[MeasuredCollective]) -> tuple[LinkSpeed, ...]:
    """Returns a speed for each kind and number of ranks among the measurements.

    Raises:
        BadInput: too few sizes of one of them to tell latency and bandwidth apart.
    """
    groups: dict[tuple[str, int], list[MeasuredCollective]] = {}
    for one in measured:
        groups.setdefault((one.kind, one.ranks), []).append(one)
    return tuple(_fit(kind, ranks, found) for (kind, ranks), found in groups.items())


def _fit(kind: str, ranks: int, found: Sequence[MeasuredCollective]) -> LinkSpeed:
    sizes = sorted(found, key=lambda one: one.bytes)
    smallest, largest = sizes[0], sizes[-1]
    if len({one.bytes for one in sizes}) < _LEAST_SIZES:
        raise BadInput(
            f"measured {kind} of {ranks} GPUs: expected {_LEAST_SIZES} sizes or more of it"
        )
    share = wire_share(kind, ranks)

    def took(one: MeasuredCollective, latency: float, bandwidth: float) -> float:
        return latency + share * one.bytes / bandwidth

    def distance(latency: float, bandwidth: float) -> float:
        return sum(abs(math.log(took(one, latency, bandwidth) / one.seconds)) for one in sizes)

    latency, bandwidth = smallest.seconds, share * largest.bytes / largest.seconds
    least = distance(latency, bandwidth)
    for step in _STEPS:
        moved = True
        while moved:
            moved = False
            for a, b in ((step, 1.0), (1 / step, 1.0), (1.0, step), (1.0, 1 / step)):
                now = distance(latency * a, bandwidth * b)
                if now < least - 1e-9:
                    latency, bandwidth, least, moved = latency * a, bandwidth * b, now, True
    fast, slow = {True: [1.0], False: [1.0]}, {True: [1.0], False: [1.0]}
    for one in sizes:
        predicted = took(one, latency, bandwidth)
        small = latency > predicted / 2
        fast[small].append(one.seconds / predicted)
        slow[small].append(one.median_seconds / predicted)
    return LinkSpeed(
        kind,
        ranks,
        Spread(latency, latency * min(fast[True]), latency * max(slow[True])),
        Spread(bandwidth, bandwidth / max(slow[False]), bandwidth / min(fast[False])),
    )
