"""The device's time of a step: the sum over its kernels, by what they are, and the power cap.

Dense work in 16 bits draws so much power that a GPU lowers its clock within half a second. How much
depends on the share of the step that such work takes: none below ``_COOL`` of it, all of what the
cap takes from ``_COOL + _WARMING`` on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.time.attention_time import HALF_RATE_WIDTH, attention_seconds
from rmtscale.costs.time.constants import (
    ATTENTION,
    MATMUL,
    POWER,
    TimeConstants,
)
from rmtscale.costs.time.growing import MOVED, NUMBERS, GrowingKernel, GrowingList, Listed
from rmtscale.costs.time.kernels import SCATTER, Attention, Kernel, KernelList, Matmul, Stream
from rmtscale.costs.time.matmul_time import matmul_seconds
from rmtscale.costs.time.step_kernels import Part
from rmtscale.costs.time.stream_time import stream_costs, stream_seconds
from rmtscale.specs.precision import FP32_BYTES

_COOL, _WARMING = 0.35, 0.5
_ATTENTION_HEAT = 0.5
"""The heat of a second of fused attention, beside one of matrix multiplication."""
_BACKWARD_HEAT = 2.5


class Priced(NamedTuple):
    """A list of kernels, in seconds by class."""

    matmul: float
    attention: float
    stream: float
    dense: float
    """Seconds of dense work in 16 bits at the full rate."""


class Factors(NamedTuple):
    """How many times as long kernels of a class take."""

    matmul: float = 1.0
    attention: float = 1.0
    stream: float = 1.0


@dataclass(frozen=True, slots=True)
class DeviceTime:
    """The device's seconds by class."""

    arithmetic: str
    matmul: float
    attention: float
    stream: float
    dense: float

    @property
    def seconds(self) -> float:
        """Without what the power cap adds."""
        return self.matmul + self.attention + self.stream

    def plus(self, more: DeviceTime) -> DeviceTime:
        """Returns the sum of two parts of a step."""
        return DeviceTime(
            self.arithmetic,
            self.matmul + more.matmul,
            self.attention + more.attention,
            self.stream + more.stream,
            self.dense + more.dense,
        )

    def scaled(self, factors: Factors) -> float:
        """Seconds where matmuls, attention and streams take so many times as long."""
        return self.matmul * factors[0] + self.attention * factors[1] + self.stream * factors[2]


@lru_cache(maxsize=4096)
def price(kernels: Listed, arithmetic: str, constants: TimeConstants) -> Priced:
    """Returns the seconds of a list of kernels."""
    if isinstance(kernels, KernelList):
        return _sum_up(Counter(kernels.kernels).items(), arithmetic, constants)
    growth, length = _growth(kernels.of, constants), kernels.length
    others = [(one.at(length), times) for one, times in growth.others]
    found = _sum_up(others, arithmetic, constants)
    constant, linear, square = growth.stream
    return found._replace(stream=found.stream + constant + length * (linear + length * square))


def _sum_up(
    kernels: Iterable[tuple[Kernel, int]], arithmetic: str, constants: TimeConstants
) -> Priced:
    """Adds up kernels, equal ones at once."""
    matmul = attention = stream = dense = 0.0
    for one, times in kernels:
        if isinstance(one, Stream):
            stream += times * stream_seconds(one, constants)
        elif isinstance(one, Matmul):
            used = arithmetic if one.tf32 or one.width < FP32_BYTES else "fp32"
            matmul += times * matmul_seconds(one, used, constants)
            if one.width < FP32_BYTES and one.aligned:
                dense += times * one.flops / constants.rate(MATMUL, used)
        else:
            attention += times * _attention(one, arithmetic, constants)
            if one.width < FP32_BYTES:
                dense += times * _ATTENTION_HEAT * _heat(one, arithmetic, constants)
    return Priced(matmul, attention, stream, dense)


class _Growth(NamedTuple):
    """A growing list: the time of its streams as a polynomial of the length, and the others."""

    stream: tuple[float, float, float]
    others: tuple[tuple[GrowingKernel, int], ...]
    """With how many equal ones there are."""


@lru_cache(maxsize=1024)
def _growth(of: GrowingList, constants: TimeConstants) -> _Growth:
    whole = [0.0, 0.0, 0.0]
    others = []
    for one, times in Counter(of.growing).items():
        found = None
        if isinstance(one.base, Stream):
            found = _stream_growth(one, one.base.kind, constants)
        if found is None:
            others.append((one, times))
        else:
            whole = [all_ + times * each for all_, each in zip(whole, found, strict=True)]
    constant, linear, square = whole
    return _Growth((constant, linear, square), tuple(others))


def _stream_growth(
    one: GrowingKernel, kind: str, constants: TimeConstants
) -> tuple[float, float, float] | None:
    """The polynomial of a stream's time; None where it has none, or bytes and numbers take turns
    in being what counts."""
    if kind == SCATTER:
        return None
    least, byte, number, beside = stream_costs(constants)[kind]
    _, *moved = one.term(MOVED)
    _, *numbers = one.term(NUMBERS)
    by_byte, by_number = [byte * x for x in moved], [number * x for x in numbers]
    above = [a >= b for a, b in zip(by_byte, by_number, strict=True)]
    below = [a <= b for a, b in zip(by_byte, by_number, strict=True)]
    if not all(above) and not all(below):
        return None
    busy = by_byte if all(above) else by_number
    constant, linear, square = (a + beside * b for a, b in zip(busy, numbers, strict=True))
    return least + constant, linear, square


def _attention(one: Attention, arithmetic: str, constants: TimeConstants) -> float:
    used = arithmetic if one.width < FP32_BYTES else "fp32"
    return attention_seconds(one, used, constants)


def _heat(one: Attention, arithmetic: str, constants: TimeConstants) -> float:
    """Seconds of its arithmetic alone."""
    flops = 2.0 * one.heads * one.size * one.size * one.head_width
    width = one.head_width
    rate = constants.rate(ATTENTION, arithmetic) * width / (width + HALF_RATE_WIDTH)
    return flops / rate * (_BACKWARD_HEAT if one.backward else 1.0)


def device_time(parts: Iterable[Part], arithmetic: str, constants: TimeConstants) -> DeviceTime:
    """Adds up the parts of a step."""
    matmul = attention = stream = dense = 0.0
    for part in parts:
        priced = price(part.kernels, arithmetic, constants)
        matmul += part.times * priced.matmul
        attention += part.times * priced.attention
        stream += part.times * priced.stream
        dense += part.times * priced.dense
    return DeviceTime(arithmetic, matmul, attention, stream, dense)


def power_factor(device: DeviceTime, elapsed: float, constants: TimeConstants) -> float:
    """How many times as long a step takes that is run again and again, for the power cap.

    Args:
        elapsed: seconds of the step, of which the device may be idle for some.
    """
    busy = device.seconds
    if not busy:
        return 1.0
    density = device.dense / max(busy, elapsed)
    warm = max(0.0, min(1.0, (density - _COOL) / _WARMING))
    return 1 + (1 / constants[POWER] - 1) * warm * device.dense / busy
