"""How long a step may take: from the roofline to what slow kernels and a slow host make of it.

The roofline is what no step can beat. The other end takes every operation at 0.3 of the vendor's
peaks and lets the device wait for the host at 50 us an operator, 10 us where a step is captured in
a CUDA graph. All steps that were measured on an H200 lie in between (a test holds this). It is no
error bar: which of two steps is faster cannot be told where their ranges overlap.
"""

from __future__ import annotations

from typing import NamedTuple

from rmtscale.costs.calibration import Calibration, step_work
from rmtscale.costs.design import Design
from rmtscale.costs.memory import runs_captured
from rmtscale.costs.methods.method import Method
from rmtscale.costs.operators import count_operators
from rmtscale.costs.roofline import estimate_time
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.workload import Workload

SLOW_SHARE = 0.3
"""Share of the vendor's peaks at the slow end."""
SLOW_OPERATOR_SECONDS = 50e-6
SLOW_CAPTURED_SECONDS = 10e-6


class TimeRange(NamedTuple):
    """Seconds of a step, at least and at most."""

    least_seconds: float
    most_seconds: float


def step_seconds(
    model: ModelSpec,
    workload: Workload,
    device: DeviceSpec,
    design: Design = None,
    calibration: Calibration | None = None,
    *,
    captured: bool | None = None,
) -> TimeRange:
    """The range of one pass or one training step; a calibration of the device narrows it.

    With a calibration it is from two thirds of what that predicts to one and a half times it, which
    96 % of the steps measured on an H200 lie in; never below the roofline.

    Raises:
        BadInput: the device has no peak for the dtype, or a segment cannot be.
    """
    roofline = estimate_time(model, workload, device, design).seconds
    graph = runs_captured(model, workload, design) if captured is None else captured
    if calibration is not None and not isinstance(design, Method):
        work = step_work(model, workload, device, design, cuda_graph=graph)
        predicted = calibration.seconds(work)
        return TimeRange(max(roofline, predicted / 1.5), max(roofline, 1.5 * predicted))
    return slow_end(roofline, operators(model, workload, design), captured=graph)


def slow_end(roofline: float, started: int, *, captured: bool) -> TimeRange:
    """The range of a roofline and so many operators that the host starts."""
    each = SLOW_CAPTURED_SECONDS if captured else SLOW_OPERATOR_SECONDS
    return TimeRange(roofline, roofline / SLOW_SHARE + started * each)


def operators(model: ModelSpec, workload: Workload, design: Design) -> int:
    """Operators that the host starts; 0 where they are not known, of another type or method."""
    if isinstance(model, LayeredSpec) or isinstance(design, Method):
        return 0
    return count_operators(model, workload, design)
