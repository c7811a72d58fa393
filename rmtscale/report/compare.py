"""Two files of records point by point: two runs, two versions, two machines.

A difference is outside the noise if it is larger than the halves of either run's A/A pairs differ
and, for times, the quartiles of the two points do not overlap. Without a pair the noise of memory
is not known, and neither is the answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rmtscale.records.point import Point
from rmtscale.records.record import Record
from rmtscale.report.noise import apart, overlap, pair_noise
from rmtscale.report.quantities import MEMORY, TIME, Quantity
from rmtscale.report.series import latest


@dataclass(frozen=True, slots=True)
class Difference:
    """One quantity of one point in both runs."""

    quantity: Quantity
    first: float | None
    second: float | None
    outside_noise: bool | None
    """None: not known, or not both measured."""

    @property
    def ratio(self) -> float | None:
        """The second over the first."""
        return self.second / self.first if self.first and self.second else None

    def words(self) -> str:
        """Returns ``outside noise``, ``within noise``, ``noise not known`` or ``not measured``."""
        if self.ratio is None:
            return "not measured"
        if self.outside_noise is None:
            return "noise not known"
        return "outside noise" if self.outside_noise else "within noise"


@dataclass(frozen=True, slots=True)
class Pair:
    """One point in both runs."""

    first: Record
    second: Record
    differences: tuple[Difference, ...]
    """Memory and time."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs: the points that both have, and those that only one has."""

    pairs: tuple[Pair, ...]
    only_first: tuple[Record, ...]
    only_second: tuple[Record, ...]
    noise: dict[str, tuple[float | None, float | None]]
    """The difference within the A/A pairs of each run, by quantity."""


def compare(first: Iterable[Record], second: Iterable[Record]) -> Comparison:
    """Pairs the points of two runs; a memory limit may differ, it belongs to the machine."""
    runs = [latest(first), latest(second)]
    noise = {
        quantity.name: (pair_noise(runs[0], quantity), pair_noise(runs[1], quantity))
        for quantity in (MEMORY, TIME)
    }
    a, b = (
        {_identity(record.point): record for record in run if not record.point.replicate}
        for run in runs
    )
    common = sorted(a.keys() & b.keys(), key=lambda key: (a[key].point.series, _tokens(a[key])))
    pairs = [
        Pair(
            a[key],
            b[key],
            tuple(
                _difference(a[key], b[key], quantity, noise[quantity.name])
                for quantity in (MEMORY, TIME)
            ),
        )
        for key in common
    ]
    return Comparison(
        tuple(pairs),
        tuple(record for key, record in a.items() if key not in b),
        tuple(record for key, record in b.items() if key not in a),
        noise,
    )


def _difference(
    first: Record, second: Record, quantity: Quantity, noise: Sequence[float | None]
) -> Difference:
    a, b = quantity.read(first), quantity.read(second)
    if not a or not b:
        return Difference(quantity, a, b, None)
    known = [share for share in noise if share is not None]
    if known and apart(a, b) <= max(known):
        return Difference(quantity, a, b, False)
    if overlap(first, second, quantity):
        return Difference(quantity, a, b, False)
    return Difference(quantity, a, b, True if known or quantity.spread is not None else None)


def _identity(point: Point) -> str:
    mapping = json.loads(point.key)
    del mapping["memory_limit_bytes"]
    return json.dumps(mapping, sort_keys=True)


def _tokens(record: Record) -> int:
    return record.point.tokens
