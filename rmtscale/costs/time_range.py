"""How long a step may take: from the roofline to what slow kernels and a slow host make of it.

The roofline is what no step can beat. The other end takes every operation at 0.3 of the vendor's
peaks and lets the device wait for the host at 50 us an operator, 10 us where a step is captured in
a CUDA graph. All steps that were measured on an H200 lie in between (a test holds this). It is no
error bar: which of two steps is faster cannot be told where their ranges overlap.

Where operators are not counted one by one, the slow end takes so many that it covers what the sweep
of precisions measured (profiles/nvidia-h200/precisions.jsonl): it was fitted to those steps.
"""

from __future__ import annotations

from typing import NamedTuple

from rmtscale.costs.calibration import Calibration, step_work
from rmtscale.costs.design import Design
from rmtscale.costs.memory import runs_captured
from rmtscale.costs.methods.method import Method
from rmtscale.costs.operators import count_operators
from rmtscale.costs.parameters import count_parameters
from rmtscale.costs.roofline import estimate_time
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import FP32_BYTES
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

SLOW_SHARE = 0.3
"""Share of the vendor's peaks at the slow end."""
SLOW_OPERATOR_SECONDS = 50e-6
SLOW_CAPTURED_SECONDS = 10e-6
SLOW_SHARE_TF32 = 0.1
"""TF32 is for matmuls; fused attention runs in fp32 all the same."""
SLOW_HOST_BYTES_PER_SECOND = 10**9
"""Optimizer on the host: gradients go there, it steps, and weights come back."""
LAYER_OPERATORS = 40
"""Operators of a pass through a layer whose modules are not counted."""
EXPERT_OPERATORS = 12
"""Operators of each expert that runs."""
EXTRA_OPERATORS = 1.5
"""Times as many where a precision casts or an adapter stands beside the weights."""
HALF_OPERATORS = 1.2
"""Times as many with weights of 16 bits: they are counted in fp32, and norms cast."""


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
        BadInput: the device has no peak for the dtype, a segment cannot be, or a calibration that
            says nothing of the model or the workload.
    """
    roofline = estimate_time(model, workload, device, design).seconds
    graph = runs_captured(model, workload, design) if captured is None else captured
    if calibration is not None and not isinstance(design, Method):
        calibration.require(model, workload)
        work = step_work(model, workload, device, design, cuda_graph=graph)
        predicted = calibration.seconds(work)
        return TimeRange(max(roofline, predicted / 1.5), max(roofline, 1.5 * predicted))
    found = slow_end(
        roofline,
        operators(model, workload, design),
        captured=graph,
        share=SLOW_SHARE_TF32 if workload.precision == "tf32" else SLOW_SHARE,
    )
    if not workload.offload_optimizer:
        return found
    moved_bytes = 2 * count_parameters(model).total * workload.casts.weight_bytes
    return found._replace(
        most_seconds=found.most_seconds + moved_bytes / SLOW_HOST_BYTES_PER_SECOND
    )


def slow_end(
    roofline: float, started: int, *, captured: bool, share: float = SLOW_SHARE
) -> TimeRange:
    """The range of a roofline and so many operators that the host starts."""
    each = SLOW_CAPTURED_SECONDS if captured else SLOW_OPERATOR_SECONDS
    return TimeRange(roofline, roofline / share + started * each)


def operators(model: ModelSpec, workload: Workload, design: Design) -> int:
    """Operators that the host starts, at the slow end; 0 where they are not known, of a method."""
    if isinstance(design, Method):
        return 0
    if isinstance(model, LayeredSpec):
        started = _uncounted(model, workload, design)
    else:
        started = count_operators(model, workload, design)
    if workload.casts.autocast or workload.adapter is not None:
        started = round(EXTRA_OPERATORS * started)
    elif workload.casts.weight_bytes < FP32_BYTES:
        started = round(HALF_OPERATORS * started)
    return started * workload.accumulate


def _uncounted(model: LayeredSpec, workload: Workload, design: Design) -> int:
    """So many operators for each layer and for each expert that some token needs."""
    segments, tokens = 1, workload.tokens
    if isinstance(design, Recurrence):
        segments = design.segments(model, workload.tokens)
        tokens = min(tokens, design.segment_size)
    tokens *= workload.batch_size
    started = 0
    for layer, count in (*model.encoder_groups, *model.groups):
        feed_forward = layer.feed_forward
        experts = 0 if feed_forward is None else feed_forward.experts
        if feed_forward is not None and experts:
            experts = min(experts, feed_forward.active * tokens)
        started += count * (LAYER_OPERATORS + EXPERT_OPERATORS * experts)
    passes = 1
    if workload.train:
        # The backward pass starts about twice as many, and a checkpoint runs a layer once more.
        passes = 3 + (workload.checkpoint_layers or workload.checkpoint_segments)
    return started * passes * segments
