"""How much a number moves by itself: A/A pairs, and the quartiles of a timing."""

from __future__ import annotations

from collections.abc import Iterable

from rmtscale.records.record import Record
from rmtscale.report.quantities import Quantity


def pair_noise(records: Iterable[Record], quantity: Quantity) -> float | None:
    """Returns the largest relative difference within an A/A pair; None without a pair."""
    halves: dict[tuple[str, int], dict[int, float]] = {}
    for record in records:
        value = quantity.read(record)
        if value:
            place = (record.point.series, record.point.tokens)
            halves.setdefault(place, {})[record.point.replicate] = value
    pairs = [(pair[0], pair[1]) for pair in halves.values() if {0, 1} <= set(pair)]
    return max((apart(*pair) for pair in pairs), default=None)


def apart(first: float, second: float) -> float:
    """Returns the distance of two numbers in parts of the smaller: 0.1 is a tenth of it."""
    return max(first / second, second / first) - 1


def overlap(first: Record, second: Record, quantity: Quantity) -> bool:
    """Whether the quartiles of two points overlap; False for a number that has none."""
    if quantity.spread is None:
        return False
    a, b = quantity.spread(first), quantity.spread(second)
    return a is not None and b is not None and a[0] <= b[1] and b[0] <= a[1]
