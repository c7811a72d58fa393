"""How long a step may take: between which times it lies.

Where a model's kernels are known, it is what ``time.step_time`` says of them, with the spread of
the machine's constants. Where they are not, it is from the roofline, which nothing beats, to what
slow kernels and a slow host make of it: every operation at 0.3 of the vendor's peaks, and 50 us an
operator, 10 us where a step is captured in a CUDA graph. Which of two steps is faster cannot be
told where their ranges overlap.
"""

from __future__ import annotations

from typing import NamedTuple

from rmtscale.costs.captured_steps import runs_captured, trains_captured
from rmtscale.costs.design import Design
from rmtscale.costs.methods.method import Method
from rmtscale.costs.operators import count_operators
from rmtscale.costs.parameters import count_parameters
from rmtscale.costs.roofline import estimate_time
from rmtscale.costs.time.constants import TimeConstants
from rmtscale.costs.time.constants_file import known_constants
from rmtscale.costs.time.step_kernels import has_kernels
from rmtscale.costs.time.step_time import StepTime, step_time
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
    calibration: TimeConstants | None = None,
    *,
    captured: bool | None = None,
) -> TimeRange:
    """The range of one pass or one training step.

    Args:
        calibration: constants of the device, measured elsewhere; else those that are known.
        captured: of a forward pass, full segments run as CUDA graphs; by default where they do.
            Training steps are captured where the workload says so and it can be.

    Raises:
        BadInput: the device has no peak for the dtype, a segment cannot be, or a calibration that
            says nothing of the model or the workload.
    """
    graph = runs_captured(model, workload, design) if captured is None else captured
    predicted = predicted_step(model, workload, device, design, calibration, captured=graph)
    if predicted is not None:
        found = TimeRange(predicted.least_seconds, predicted.most_seconds)
    else:
        found = slow_end(
            estimate_time(model, workload, device, design).seconds,
            operators(model, workload, design),
            captured=graph or trains_captured(model, workload, design),
            share=SLOW_SHARE_TF32 if workload.precision == "tf32" else SLOW_SHARE,
        )
    if not workload.offload_optimizer:
        return found
    moved_bytes = 2 * count_parameters(model).total * workload.casts.weight_bytes
    return found._replace(
        most_seconds=found.most_seconds + moved_bytes / SLOW_HOST_BYTES_PER_SECOND
    )


def predicted_step(
    model: ModelSpec,
    workload: Workload,
    device: DeviceSpec,
    design: Design = None,
    calibration: TimeConstants | None = None,
    *,
    captured: bool = False,
) -> StepTime | None:
    """The step's time from its kernels; None where these are not known.

    That is so of methods other than RMT, of quantised weights, and of layers of other kinds.

    Raises:
        BadInput: the device has no peak for the dtype, or a segment cannot be.
    """
    if isinstance(design, Method) or model.quantization is not None:
        return None
    if not has_kernels(model, workload, design):
        return None
    constants = known_constants(device) if calibration is None else calibration
    graph = captured or trains_captured(model, workload, design)
    return step_time(model, workload, constants, design, cuda_graph=graph)


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
