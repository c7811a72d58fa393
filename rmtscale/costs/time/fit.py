"""A machine's constants from its operators, each measured alone: never from a model's steps.

One constant after another is moved until the times of the operators that it is for are nearest to
the measured ones (least mean of ``|log(predicted / measured)|``); the form of each time is fixed.
How far single operators then are from it, but for the fastest and slowest tenth, is its spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import median

from rmtscale.costs.time.attention_time import attention_seconds
from rmtscale.costs.time.constants import (
    ATTENTION,
    BACKWARD_OPERATOR,
    BANDWIDTH,
    FASTER_HOST,
    FLOOR,
    FORWARD_OPERATOR,
    HOST_SPREAD,
    MATMUL,
    MISALIGNED,
    POWER,
    ROW_SHARE,
    TENSOR,
    TimeConstants,
    datasheet_constants,
    rate_name,
)
from rmtscale.costs.time.kernels import PLAIN, Attention, Kernel, Matmul, Stream
from rmtscale.costs.time.link_fit import fit_links
from rmtscale.costs.time.matmul_time import matmul_seconds
from rmtscale.costs.time.measured import (
    Measured,
    MeasuredCollective,
    MeasuredHost,
    MeasuredKernel,
    Sustained,
)
from rmtscale.costs.time.stream_time import SPEEDS, stream_seconds
from rmtscale.errors import BadInput
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.spread import Spread

_STEPS = (1.3, 1.1, 1.03, 1.01, 1.003)
_LARGE_BYTES = 2**28
"""Streams of so many bytes are in no cache: the bandwidth is theirs."""
_UNCACHED_BYTES = 2**26
_SMALL_BYTES = 2**17
"""And of so few that the least time of a kernel is all that there is."""
_OUTER = 10
"""One in so many operators may lie outside a spread, on either side."""
_SAME_ARITHMETIC = {"fp16": "bf16", "tf32": "fp32"}
"""Arithmetic that was not measured is taken to be as far from its peak as another."""


def kernel_seconds(kernel: Kernel, arithmetic: str, constants: TimeConstants) -> float:
    """Returns the time of one kernel."""
    if isinstance(kernel, Stream):
        return stream_seconds(kernel, constants)
    if isinstance(kernel, Matmul):
        return matmul_seconds(kernel, arithmetic, constants)
    return attention_seconds(kernel, arithmetic, constants)


def fit_constants(
    device: DeviceSpec, processors: int, measured: Iterable[Measured], source: str
) -> TimeConstants:
    """Finds the constants of a machine.

    Args:
        processors: multiprocessors of the GPU.
        source: the file that the measurements are in.

    Raises:
        BadInput: no operators of a class, or a constant that no machine has.
    """
    found = list(measured)
    kernels = [one for one in found if isinstance(one, MeasuredKernel)]
    base = datasheet_constants(device)
    values = {name: spread.value for name, spread in base.spreads.items()}
    spreads: dict[str, Spread] = {}
    streams = [one for one in kernels if isinstance(one.kernel, Stream)]
    plain = [one for one in streams if one.kernel.kind == PLAIN]  # type: ignore[union-attr]
    large = [one for one in plain if _bytes(one) >= _LARGE_BYTES]
    small = [one for one in plain if _bytes(one) <= _SMALL_BYTES]
    rows = [one for one in streams if SPEEDS[one.kernel.kind].rows]  # type: ignore[union-attr]
    if not (large and small and rows):
        raise BadInput("measured operators: expected streams of all sizes among them")
    values[BANDWIDTH] = median(_bytes(one) / one.seconds for one in large)
    values[FLOOR] = min(one.seconds for one in small)

    def constants() -> TimeConstants:
        exact = {name: Spread(value, value, value) for name, value in values.items()}
        return replace(base, spreads=exact, processors=processors)

    def fit(name: str, of: Sequence[MeasuredKernel]) -> None:
        def distance(value: float) -> float:
            values[name] = value
            try:
                made = constants()
            except BadInput:  # none that a machine has
                return math.inf
            return sum(
                abs(math.log(kernel_seconds(one.kernel, one.arithmetic, made) / one.seconds))
                for one in of
            )

        values[name] = _nearest(distance, values[name])

    fit(ROW_SHARE, rows)
    # What fits into a cache is faster, when it is read again and again; a step seldom does so.
    everything = {
        BANDWIDTH: [one for one in streams if _bytes(one) >= _UNCACHED_BYTES],
        ROW_SHARE: [one for one in rows if _bytes(one) >= _UNCACHED_BYTES],
    }
    for arithmetic in device.dtypes:
        for kind, which in ((MATMUL, Matmul), (ATTENTION, Attention)):
            of = [
                one
                for one in kernels
                if isinstance(one.kernel, which)
                and one.arithmetic == arithmetic
                and getattr(one.kernel, "aligned", True)
            ]
            if of:
                fit(rate_name(kind, arithmetic), of)
                everything[rate_name(kind, arithmetic)] = of
    odd = [one for one in kernels if not getattr(one.kernel, "aligned", True)]
    fit(MISALIGNED, odd)
    everything[MISALIGNED] = odd
    for one in found:
        if isinstance(one, Sustained):
            values[POWER] = one.burst_seconds / one.sustained_seconds
    for other, like in _SAME_ARITHMETIC.items():
        for kind in (MATMUL, ATTENTION):
            name, of_like = rate_name(kind, other), rate_name(kind, like)
            if name in values and name not in everything:
                values[name] *= values[of_like] / base.spreads[of_like].value
                everything[name] = everything[of_like]
    made = constants()
    for name, value in values.items():
        spreads[name] = Spread(value, value, value)
    for name, of in everything.items():
        spreads[name] = _spread(values[name], of, made)
    # A floor is the shortest of all, so that nothing lies below it.
    slowest = sorted(one.seconds for one in small)[-1 - len(small) // _OUTER]
    spreads[FLOOR] = Spread(values[FLOOR], values[FLOOR], slowest)
    spreads |= _host(values, [one for one in found if isinstance(one, MeasuredHost)])
    links = fit_links(one for one in found if isinstance(one, MeasuredCollective))
    return TimeConstants(device, spreads, processors, measured=True, source=source, links=links)


def _bytes(one: MeasuredKernel) -> int:
    assert isinstance(one.kernel, Stream), "asked for streams only"
    return one.kernel.moved_bytes


def _nearest(distance: Callable[[float], float], start: float) -> float:
    best, least = start, distance(start)
    for step in _STEPS:
        moved = True
        while moved:
            moved = False
            for factor in (step, 1 / step):
                now = distance(best * factor)
                if now < least - 1e-9:
                    best, least, moved = best * factor, now, True
    return best


def _spread(value: float, of: Sequence[MeasuredKernel], constants: TimeConstants) -> Spread:
    slower = sorted(
        one.seconds / kernel_seconds(one.kernel, one.arithmetic, constants) for one in of
    )
    outer = len(slower) // _OUTER
    return Spread(
        value,
        value / max(1.0, slower[-1 - outer]),
        value / min(1.0, slower[outer]),
    )


def _host(values: dict[str, float], toys: Sequence[MeasuredHost]) -> dict[str, Spread]:
    """Seconds of an operator and a tensor; the slow end is a host at half its speed."""
    if not toys:
        raise BadInput("measured operators: expected steps of toys among them")
    names = (FORWARD_OPERATOR, BACKWARD_OPERATOR, TENSOR)

    def distance(candidate: dict[str, float]) -> float:
        return sum(
            abs(
                math.log(
                    sum(
                        count * candidate[name]
                        for count, name in zip(
                            (one.forward, one.backward, one.tensors), names, strict=True
                        )
                    )
                    / one.seconds
                )
            )
            for one in toys
        )

    best = {name: values[name] for name in names}
    least = distance(best)
    for step in _STEPS:
        moved = True
        while moved:
            moved = False
            for name in names:
                for factor in (step, 1 / step):
                    candidate = {**best, name: best[name] * factor}
                    now = distance(candidate)
                    if now < least - 1e-9:
                        best, least, moved = candidate, now, True
    return {
        name: Spread(value, value / FASTER_HOST, value * HOST_SPREAD)
        for name, value in best.items()
    }
