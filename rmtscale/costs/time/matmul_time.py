"""Time of a matrix multiplication: arithmetic or traffic, its slowest tile, and a floor.

The result is written at the end and hides behind nothing in 16 bits. A GPU deals tiles out to its
multiprocessors; the last ones are worked on alone, which costs in proportion to the path through
one tile. In 16 bits rows that are no multiple of eight numbers fall to kernels of an older kind.
"""

from __future__ import annotations

from rmtscale.costs.time.constants import (
    BANDWIDTH,
    FLOOR,
    MATMUL,
    MISALIGNED,
    TimeConstants,
)
from rmtscale.costs.time.kernels import Matmul
from rmtscale.specs.precision import FP32_BYTES

TILE = 128
_FLOORS = {False: 3, True: 9}
"""Floors of a kernel, by whether it is of fp32: those run on fewer, larger tiles."""
_WRITTEN = 0.87
"""The share of the result's traffic that nothing hides, in 16 bits."""
_LAST_TILE = {False: 0.07, True: 0.05}
"""The share of a tile's path that is waited for."""


def matmul_seconds(kernel: Matmul, arithmetic: str, constants: TimeConstants) -> float:
    """Returns the time of one product, or of a batch of them."""
    exact = kernel.width == FP32_BYTES
    rate, bandwidth = constants.rate(MATMUL, arithmetic), constants[BANDWIDTH]
    reached = rate if kernel.aligned else rate * constants[MISALIGNED]
    flops, read, written = kernel.flops, kernel.read_bytes, kernel.written_bytes
    floor = _FLOORS[exact] * constants[FLOOR]
    if exact:
        busy = max(flops / reached, (read + written) / bandwidth)
    else:
        busy = max(flops / reached, read / bandwidth) + _WRITTEN * written / bandwidth
    if not kernel.aligned:
        return floor + busy
    path = 2 * TILE * TILE * kernel.inner * constants.processors / rate
    return floor + busy + _LAST_TILE[exact] * min(path, 2 * flops / rate)
