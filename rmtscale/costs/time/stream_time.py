"""Time of a kernel that streams tensors through memory: a floor, and bytes over the bandwidth."""

from __future__ import annotations

from rmtscale.costs.time.constants import BANDWIDTH, FLOOR, ROW_SHARE, TimeConstants
from rmtscale.costs.time.kernels import PLAIN, ROWS, SCATTER, SUM, Stream

FLOORS = {PLAIN: 1, ROWS: 3, SUM: 10, SCATTER: 40}
"""Floors by class: a sum over a whole dimension runs in two steps, the gradient of an embedding
sorts its ids first."""


def stream_seconds(kernel: Stream, constants: TimeConstants) -> float:
    """Returns the time of one such kernel."""
    bandwidth = constants[BANDWIDTH]
    if kernel.kind in (ROWS, SUM):
        bandwidth *= constants[ROW_SHARE]
    return FLOORS[kernel.kind] * constants[FLOOR] + kernel.moved_bytes / bandwidth
