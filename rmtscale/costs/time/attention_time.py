"""Time of fused attention: by length and by the width of a head.

Narrow heads keep the tensor cores waiting for the softmax. A causal mask leaves some rows of tiles
with the whole length to go through and others with next to nothing: short inputs are bound by the
longest of them. The backward pass has five products where the forward pass has two.
"""

from __future__ import annotations

from rmtscale.costs.roofline import seen_pairs
from rmtscale.costs.time.constants import ATTENTION, FLOOR, TimeConstants
from rmtscale.costs.time.kernels import Attention
from rmtscale.specs.precision import FP32_BYTES

HALF_RATE_WIDTH = 80
"""Head width at which half of the rate is reached."""
_TILE = {False: 128, True: 64}
"""Rows of a tile, by whether it is in fp32."""
_PATH = {False: 0.9, True: 1.2}
"""The share of the longest path of tiles that is waited for."""
_FLOORS = {False: 5, True: 7}
_BACKWARD_PRODUCTS = 2.5
_BACKWARD_REACHED = {False: 0.91, True: 1.0}
"""Share of the forward pass's rate."""


def attention_seconds(kernel: Attention, arithmetic: str, constants: TimeConstants) -> float:
    """Returns the time of one fused kernel; FLOPs are those that a mask leaves."""
    exact, width, size = kernel.width == FP32_BYTES, kernel.head_width, kernel.size
    rate = constants.rate(ATTENTION, arithmetic) * width / (width + HALF_RATE_WIDTH)
    pairs = 2.0 * size * size if not kernel.causal else 1.0 * size * size
    if kernel.causal and 0 < kernel.window < size:
        pairs *= seen_pairs(size, kernel.window) / seen_pairs(size)
    busy = 2 * kernel.heads * width * pairs / rate
    tile = _TILE[exact]
    path = _PATH[exact] * size * 4 * tile * width * constants.processors / rate
    floor = _FLOORS[exact] * constants[FLOOR]
    if not kernel.backward:
        return floor + busy + path
    slower = _BACKWARD_PRODUCTS / _BACKWARD_REACHED[exact]
    return _BACKWARD_PRODUCTS * floor + slower * (busy + path)
