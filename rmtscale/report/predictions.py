"""Predictions by the formulas of today of points that were measured, and those made before.

A record keeps the prediction that was made before its measurement. Formulas change; what is drawn
is what they say now, and the earlier prediction stands beside it. Where a prediction may be off by
more than a reader can overlook, as a time, it is a span.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.layouts.memory import GpuMemory, gpu_memory
from rmtscale.costs.layouts.seconds import step_time
from rmtscale.costs.lean_segment import runs_lean, skipped_flops
from rmtscale.costs.memory import PeakMemory, estimate_memory
from rmtscale.costs.terms import ATTENTION_TERMS, FlopTerm
from rmtscale.costs.time_range import predicted_step, step_seconds
from rmtscale.errors import BadInput
from rmtscale.records.point import Point
from rmtscale.records.record import Prediction, Record
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.devices import DEVICES, find_by_driver_name


class Span(NamedTuple):
    """A prediction: between which numbers it lies."""

    least: float
    most: float
    likely: float | None = None
    """None where nothing inside is likelier than the rest."""


def device_of(record: Record) -> DeviceSpec | None:
    """Returns the device that a record is predicted for; None of a CPU, and of an unknown one."""
    if record.point.device != "cuda":
        return None
    named = record.predicted.device
    if named is not None:
        return DEVICES.get(named)
    gpu = record.measured.environment.gpu
    return None if gpu is None else find_by_driver_name(gpu)


@lru_cache(maxsize=16384)
def peak_of(point: Point, device: DeviceSpec | None) -> PeakMemory | GpuMemory:
    """Returns the predicted memory of a point as it is run; with a layout of one process."""
    if point.layout is not None:
        model, work, recurrence = point.built_model, point.workload(), point.recurrence()
        return gpu_memory(model, work, point.layout, recurrence, profiled=True)
    return estimate_memory(
        point.built_model, point.workload(), point.recurrence(), device, cuda_graph=point.cuda_graph
    )


FUSED_KERNELS = {"flash", "efficient", "cudnn"}
"""Kernels of attention that skip what a causal mask hides."""


@lru_cache(maxsize=16384)
def flops_of(point: Point) -> int:
    """Returns the FLOPs (``matmul``) of a point as it is run.

    A pass that makes the logits of its last token only (``infer``) is counted so.
    """
    counted = estimate_flops(point.built_model, point.workload(), point.recurrence(), "matmul")
    if point.mode != "forward" or point.logits != "last":
        return counted.total
    head = counted.by_name()[f"forward.{FlopTerm.HEAD}"]
    return counted.total - head + head // point.tokens


@lru_cache(maxsize=16384)
def done_share(point: Point, kernel: str | None) -> float:
    """Returns the share of the counted FLOPs that a step of a point really multiplies.

    The ``matmul`` convention counts the whole square of attention; a fused causal kernel skips the
    part above the diagonal, as in ``estimate_time``: (T + 1) / 2T of T positions are left. Of the
    last block of a lean segment it counts all positions, and few are worked out.
    """
    model, work, recurrence = point.built_model, point.workload(), point.recurrence()
    if kernel not in FUSED_KERNELS or not model.decoder:
        return 1.0
    counted = estimate_flops(model, work, recurrence, "matmul")
    square = sum(term.amount for term in counted.terms if term.name in ATTENTION_TERMS)
    positions = point.segment_size or point.tokens
    left_out = 0
    if point.cuda_graph and recurrence is not None and runs_lean(model, work, recurrence):
        square -= square // model.layers  # the last block's, which is no fused kernel's
        left_out = work.batch_size * sum(
            times * skipped_flops(model, recurrence, size)
            for size, times in recurrence.segment_sizes(model, work.tokens)
        )
    left_out += square * (positions - 1) // (2 * positions)
    return 1 - left_out / flops_of(point)


@lru_cache(maxsize=16384)
def seconds_of(point: Point, device: DeviceSpec | None) -> Span | None:
    """Returns the predicted time of a point as it is run; None where it is not known.

    That is so without a device whose peaks are known, and of steps whose optimizer is on the host:
    what these take was never predicted.
    """
    if device is None or not device.timed or point.offload_optimizer:
        return None
    model, work, recurrence = point.built_model, point.workload(), point.recurrence()
    try:
        if point.layout is not None:
            cluster = Cluster.of(device, point.layout.gpus)
            time = step_time(model, work, point.layout, cluster, recurrence)
            return Span(*time.range, time.seconds)
        step = predicted_step(model, work, device, recurrence, captured=point.cuda_graph)
        if step is not None:
            return Span(step.least_seconds, step.most_seconds, step.seconds)
        return Span(*step_seconds(model, work, device, recurrence, captured=point.cuda_graph))
    except BadInput:  # arithmetic that the device does not have
        return None


def peak_now(record: Record) -> Span | None:
    """Returns the memory that is predicted today."""
    total = float(peak_of(record.point, device_of(record)).total)
    return Span(total, total, total)


def peak_before(record: Record) -> Span | None:
    """Returns the memory that was predicted before the point was measured."""
    size = record.predicted.peak_bytes
    return None if size is None else Span(size, size, size)


def seconds_now(record: Record) -> Span | None:
    """Returns the time that is predicted today."""
    return seconds_of(record.point, device_of(record))


def seconds_before(record: Record) -> Span | None:
    """Returns the time that was predicted before the point was measured.

    Earlier releases kept a roofline alone: at least so long, at most not known.
    """
    return stored_seconds(record.predicted)


def stored_seconds(predicted: Prediction) -> Span | None:
    """Returns the range that a prediction holds, or its roofline and no end."""
    if predicted.least_seconds is not None and predicted.most_seconds is not None:
        return Span(predicted.least_seconds, predicted.most_seconds)
    return None if predicted.seconds is None else Span(predicted.seconds, float("inf"))
