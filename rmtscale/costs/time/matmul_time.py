"""Time of a matrix multiplication: arithmetic or traffic, tiles that nothing hides, and a floor.

A GPU deals the tiles of the result out to its multiprocessors, round after round; in the last round
some have nothing to do. The result is written at the end, when no arithmetic is left to hide it.
In 16 bits rows that are no multiple of eight numbers fall to kernels of an older kind.
"""

from __future__ import annotations

from typing import NamedTuple

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
_NARROW = 0.85
"""The share of its rate that fp32 reaches where the result is narrower than a tile."""
_MISALIGNED_FORWARD = 0.75
"""Misaligned products of the forward pass, beside those of the backward pass."""


class Shape(NamedTuple):
    """Holds what depends on arithmetic and pass, as measured on an H200, product by product."""

    floors: float
    written: float
    """The share of the result's traffic that nothing hides."""
    path: float
    """The share of a tile's path that is waited for."""
    idle: float
    """The share of the idle part of the last round that is lost."""


_SHAPES = {
    (True, False): Shape(6.4, 1.3, 0.02, 0.37),
    (True, True): Shape(7.2, 0.1, 0.026, 0.02),
    (False, False): Shape(3.0, 0.87, 0.005, 0.17),
    (False, True): Shape(2.65, 0.92, 0.028, 0.105),
}
"""Shapes by whether it is in fp32, and of the backward pass: there libraries cut the inner
dimension where tiles are few."""


def matmul_seconds(kernel: Matmul, arithmetic: str, constants: TimeConstants) -> float:
    """Returns the time of one product, or of a batch of them."""
    batch, rows, columns, inner, width, even, gradient, _, onto = kernel
    exact = width == FP32_BYTES
    floors, unhidden, path_share, idle_share = _SHAPES[exact, gradient]
    rate, bandwidth = constants.rate(MATMUL, arithmetic), constants[BANDWIDTH]
    reached = rate
    if not even:
        reached *= constants[MISALIGNED] * (1.0 if gradient else _MISALIGNED_FORWARD)
    elif exact and min(rows, columns) < TILE:
        reached *= _NARROW
    flops = 2 * batch * rows * columns * inner
    read, written = width * batch * inner * (rows + columns), width * batch * rows * columns
    written *= 1 + onto
    busy = max(flops / reached, read / bandwidth) + unhidden * written / bandwidth
    seconds = floors * constants[FLOOR] + busy
    if not even:
        return seconds
    rounds = batch * -(-rows // TILE) * -(-columns // TILE) / constants.processors
    idle = -(-rounds // 1) - rounds
    path = min(2 * TILE * TILE * inner * constants.processors, 2 * flops) / rate
    return seconds + (path_share + idle_share * idle) * path
