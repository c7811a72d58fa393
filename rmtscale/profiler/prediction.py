"""Predictions for a point before it is measured, and whether it will fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rmtscale.costs.roofline import estimate_time
from rmtscale.costs.terms import FlopTerm
from rmtscale.errors import BadInput
from rmtscale.profiler.layout_prediction import predict_layout
from rmtscale.records.nvml import NoGpu, open_gpu
from rmtscale.records.point import Point
from rmtscale.records.record import Prediction
from rmtscale.report.predictions import flops_of, peak_of, seconds_of
from rmtscale.specs.device import DeviceSpec, torch_total_bytes
from rmtscale.specs.devices import find_by_driver_name, find_device
from rmtscale.units import format_bytes


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of a measurement, as far as a prediction needs it."""

    title: str
    device: DeviceSpec | None
    """The device whose peaks the roofline takes; None: no time is predicted."""
    memory_bytes: int | None
    """The most that a point may take; None: not known."""
    why_unknown: str | None = None
    """Why there is no device."""


def this_machine(kind: str, predict_for: str | None = None) -> Machine:
    """Returns the machine at hand, or the device that is to be predicted for instead.

    Raises:
        BadInput: no device of that name.
    """
    if predict_for is not None:
        device = find_device(predict_for)
        return Machine(device.title, device, device.usable_memory_bytes)
    if kind == "cpu":
        return Machine("this CPU", None, _available_bytes(), "no roofline of a CPU")
    try:
        gpu = open_gpu()
    except NoGpu as error:
        return Machine("no GPU", None, None, str(error))
    known = find_by_driver_name(gpu.name)
    if known is not None:
        return Machine(gpu.name, known, known.usable_memory_bytes)
    usable = None if gpu.memory_bytes is None else torch_total_bytes(gpu.memory_bytes)
    return Machine(gpu.name, None, usable, f"no peaks of {gpu.name} are known")


def predict(point: Point, device: DeviceSpec | None = None) -> Prediction:
    """Predicts FLOPs, peak memory, roofline and range of time of a point as it is run.

    A step that computes the logits of its last token only (``infer``) is counted so in FLOPs and
    time.
    """
    if point.layout is not None:
        return predict_layout(point, point.layout, device)
    model, work, recurrence = point.built_model, point.workload(), point.recurrence()
    peak = peak_of(point, device)
    last_only = point.mode == "forward" and point.logits == "last"
    seconds = None
    between = seconds_of(point, device)
    if device is not None:
        try:
            time = estimate_time(model, work, device, recurrence)
            head_seconds = time.terms[f"forward.{FlopTerm.HEAD}"]
            seconds = time.seconds - last_only * head_seconds * (1 - 1 / point.tokens)
        except BadInput:  # no such arithmetic: no peak to predict with
            device = None
    return Prediction(
        flops=flops_of(point),
        peak_bytes=peak.total,
        seconds=seconds,
        device=None if device is None else device.name,
        least_seconds=None if between is None else between.least,
        most_seconds=None if between is None else between.most,
    )


def fits(point: Point, predicted: Prediction, machine: Machine) -> bool | None:
    """Whether the point is predicted to fit in the limit or the machine; None: not known."""
    limits = [size for size in (point.memory_limit_bytes, machine.memory_bytes) if size]
    if not limits or predicted.peak_bytes is None:
        return None
    return predicted.peak_bytes <= min(limits)


def never_fits(point: Point, machine: Machine) -> str | None:
    """Says why not even one token of this series can be run; None: it can."""
    one = replace(point, tokens=1)
    least = peak_of(one, None).total
    limits = [size for size in (point.memory_limit_bytes, machine.memory_bytes) if size]
    if not limits or least <= min(limits):
        return None
    what = "training state" if point.mode == "train" else "model"
    return (
        f"the {what} alone is predicted to take {format_bytes(least)} of "
        f"{format_bytes(min(limits))}"
    )


def _available_bytes() -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)
