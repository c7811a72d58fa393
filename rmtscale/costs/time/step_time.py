"""The time of a step: device and host side by side, what bounds it, and an interval.

The device works while the host starts what comes next. Where one of them takes much longer it alone
counts; where both take about as long they wait for each other now and then, as steps on an H200
showed: ``(host^4 + device^4)^(1/4)``. Captured segments run after what the host starts one by one;
a captured training step runs beside what the host starts behind it. A shorter segment is captured
when its length comes for the second time: what is predicted is the first time, and the interval
holds the later ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.time.constants import (
    ATTENTION,
    BACKWARD_OPERATOR,
    BANDWIDTH,
    FORWARD_OPERATOR,
    MATMUL,
    TENSOR,
    TimeConstants,
    rate_name,
)
from rmtscale.costs.time.device_time import DeviceTime, Factors, device_time, power_factor
from rmtscale.costs.time.host_time import LOOKED_UP, Started, started
from rmtscale.costs.time.optimizer_kernels import ONE_BY_ONE, trained_tensor_count
from rmtscale.costs.time.step_kernels import Part, step_kernels
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

_OVERLAP = 4
HOST, DEVICE = "host", "device"


class StepTime(NamedTuple):
    """A predicted time in seconds, between which it lies, and what it is made of."""

    seconds: float
    least_seconds: float
    most_seconds: float
    eager: DeviceTime
    """The device's part of what the host starts one by one."""
    captured: DeviceTime
    """And of what runs as captured graphs."""
    power: float
    """How many times as long the device takes for the power cap."""
    host_seconds: float
    started: Started
    begin_seconds: float = 0.0
    """The host's, before a captured training step begins: the device waits for it."""

    @property
    def device(self) -> DeviceTime:
        """The device's part, without what the power cap adds."""
        return self.eager.plus(self.captured)

    @property
    def device_seconds(self) -> float:
        return self.device.seconds * self.power

    @property
    def bound(self) -> str:
        """Names what sets the pace: ``host`` or ``device``."""
        return HOST if self.host_seconds + self.begin_seconds > self.device_seconds else DEVICE

    def where(self, host: float, device: Factors) -> float:
        """Seconds on a host and a device that need so many times as long."""
        eager = self.eager.scaled(device) * self.power
        captured = self.captured.scaled(device) * self.power
        return self.begin_seconds * host + overlapped(self.host_seconds * host, eager) + captured


def overlapped(host: float, device: float) -> float:
    """Returns the time of two that wait for each other now and then."""
    larger, smaller = max(host, device), min(host, device)
    if not larger:
        return 0.0
    ratio: float = smaller / larger
    return float(larger * (1 + ratio**_OVERLAP) ** (1 / _OVERLAP))


def step_time(
    model: ModelSpec,
    workload: Workload,
    constants: TimeConstants,
    recurrence: Recurrence | None = None,
    *,
    cuda_graph: bool = False,
) -> StepTime:
    """Predicts one pass or one training step of a model whose kernels are known.

    Args:
        cuda_graph: every full segment of a forward pass of an RMT is captured, or all of a training
            step but the optimizer.

    Raises:
        BadInput: arithmetic that the device does not have, or a segment that cannot be.
    """
    parts = step_kernels(model, workload, recurrence, cuda_graph=cuda_graph)
    arithmetic = workload.dtype
    eager = device_time((one for one in parts if not one.captured), arithmetic, constants)
    captured = device_time((one for one in parts if one.captured), arithmetic, constants)
    tensors = 0
    if workload.train and workload.optimizer != "none":
        memory_tokens = 0 if recurrence is None else recurrence.memory_tokens
        tensors = trained_tensor_count(model, workload, memory_tokens)
    begun = started(parts, tensors, one_by_one=workload.optimizer in ONE_BY_ONE)
    host = begun.seconds(constants)
    whole = eager.plus(captured)
    begin = 0.0
    if cuda_graph and workload.train:
        # While the graph runs, the host starts what comes behind it.
        eager, captured = whole, device_time((), arithmetic, constants)
        begin = workload.accumulate * LOOKED_UP * tensors * constants[FORWARD_OPERATOR]
    elapsed = max(whole.seconds, host if not captured.seconds else 0.0)
    cap = power_factor(whole, elapsed, constants)
    made = StepTime(0.0, 0.0, 0.0, eager, captured, cap, host, begun, begin)
    seconds, least, most = (
        made.where(slower, factors)
        for slower, factors in zip(
            _host_factors(constants), device_factors(arithmetic, constants), strict=True
        )
    )
    if any(one.captured_later for one in parts):
        _, fast, _ = device_factors(arithmetic, constants)
        _, fast_host, _ = _host_factors(constants)
        least = min(least, _again(made, parts, constants).where(fast_host, fast))
    return made._replace(seconds=seconds, least_seconds=least, most_seconds=most)


def _again(made: StepTime, parts: Iterable[Part], constants: TimeConstants) -> StepTime:
    """Returns the pass as it is once the length of its shorter segment has come before."""
    all_ = [one._replace(captured=one.captured or one.captured_later) for one in parts]
    arithmetic = made.eager.arithmetic
    return made._replace(
        eager=device_time((one for one in all_ if not one.captured), arithmetic, constants),
        captured=device_time((one for one in all_ if one.captured), arithmetic, constants),
        host_seconds=started(all_, 0).seconds(constants),
    )


@lru_cache(maxsize=64)
def device_factors(arithmetic: str, constants: TimeConstants) -> tuple[Factors, ...]:
    """Returns factors of the prediction, of the fast end and of the slow end."""
    spreads = [
        constants.spreads[name]
        for name in (
            rate_name(MATMUL, arithmetic),
            rate_name(ATTENTION, arithmetic),
            BANDWIDTH,
        )
    ]
    return (
        Factors(),
        Factors(*(one.value / one.high for one in spreads)),
        Factors(*(one.value / one.low for one in spreads)),
    )


@lru_cache(maxsize=64)
def _host_factors(constants: TimeConstants) -> tuple[float, float, float]:
    spreads = [constants.spreads[name] for name in (FORWARD_OPERATOR, BACKWARD_OPERATOR, TENSOR)]
    return (
        1.0,
        min(one.low / one.value for one in spreads),
        max(one.high / one.value for one in spreads),
    )
