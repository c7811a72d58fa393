"""Time of a kernel that streams tensors through memory: a floor, and bytes over the bandwidth.

Kernels that go through operands number by number, because these differ in shape, order or dtype,
take as long for two bytes as for four. What each kind reaches was measured on an H200, each
operator alone (``profiles/nvidia-h200``).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.time.constants import BANDWIDTH, FLOOR, ROW_SHARE, TimeConstants
from rmtscale.costs.time.kernels import (
    COPY,
    CURVE,
    DROPOUT,
    JOIN,
    LONG_SOFTMAX,
    LOSS,
    LOSS_BACK,
    NORM,
    NORM_BACK,
    PICK,
    PLAIN,
    REDUCE,
    SCATTER,
    SOFTMAX,
    SOFTMAX_BACK,
    SPREAD,
    SUM,
    UNEVEN,
    Stream,
)


class Speed(NamedTuple):
    """How fast a kind of kernel is."""

    floors: float
    """Its least time, in floors of a kernel."""
    rows: float = 0.0
    """Its share of the bandwidth, as a multiple of ``ROW_SHARE``; 0: all of it."""
    number_bytes: float = 0.0
    """Bytes that would take as long as one of its numbers; at least those that it moves."""


SPEEDS = {
    PLAIN: Speed(1),
    CURVE: Speed(1.3, number_bytes=5.6),
    UNEVEN: Speed(1.5, number_bytes=14),
    SPREAD: Speed(1.5, number_bytes=10.5),
    COPY: Speed(1.5, number_bytes=11.5),
    JOIN: Speed(4, number_bytes=22),
    PICK: Speed(1.5, rows=1.4),
    DROPOUT: Speed(4, rows=1.35),
    NORM: Speed(3, rows=1.0),
    NORM_BACK: Speed(4, rows=1.1),
    SOFTMAX: Speed(2, number_bytes=8.5),
    LONG_SOFTMAX: Speed(2, number_bytes=13),
    SOFTMAX_BACK: Speed(2, rows=1.0),
    LOSS: Speed(3, rows=1.0),
    LOSS_BACK: Speed(3, rows=1.2),
    REDUCE: Speed(3, rows=1.75),
    SUM: Speed(10, rows=1.1),
    SCATTER: Speed(3),
}
_NORM_ROW_FLOORS = 0.0015
"""Floors that one row more costs in the backward pass of a norm, whose weights are few."""
_TOKEN_FLOORS = 0.038
"""And one token more in the gradient of an embedding, up to ``_SORTED_TOKENS``."""
_SORTED_TOKENS = 3072
"""With more of them ids are sorted first, and each then costs a fraction."""
_SORTED_FLOORS = 0.012


class Cost(NamedTuple):
    """Seconds of a kind: at least, for each byte or each number, whichever is more, and for each
    row or token besides."""

    least: float
    byte: float
    number: float
    beside: float = 0.0


@lru_cache(maxsize=64)
def stream_costs(constants: TimeConstants) -> dict[str, Cost]:
    """Returns what each kind of stream costs on a machine; ``SCATTER`` up to ``_SORTED_TOKENS``."""
    floor, each = constants[FLOOR], 1 / constants[BANDWIDTH]
    found = {}
    for kind, (floors, rows, number_bytes) in SPEEDS.items():
        byte = each / (rows * constants[ROW_SHARE]) if rows else each
        found[kind] = Cost(floors * floor, byte, number_bytes * each)
    found[NORM_BACK] = found[NORM_BACK]._replace(beside=_NORM_ROW_FLOORS * floor)
    found[SCATTER] = found[SCATTER]._replace(beside=_TOKEN_FLOORS * floor)
    return found


def stream_seconds(kernel: Stream, constants: TimeConstants) -> float:
    """Returns the time of one such kernel."""
    kind, moved, numbers = kernel
    least, byte, number, beside = stream_costs(constants)[kind]
    seconds = least + max(byte * moved, number * numbers) + beside * numbers
    if kind == SCATTER and numbers > _SORTED_TOKENS:
        more = numbers - _SORTED_TOKENS
        seconds += (_SORTED_FLOORS - _TOKEN_FLOORS) * constants[FLOOR] * more
    return seconds
