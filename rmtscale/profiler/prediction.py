"""What the formulas say of a point before it is measured, and whether it will fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.roofline import estimate_time
from rmtscale.errors import BadInput
from rmtscale.profiler.nvml import NoGpu, open_gpu
from rmtscale.records.point import Point
from rmtscale.records.record import Prediction
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.devices import DEVICES, find_device
from rmtscale.units import format_bytes

_DRIVER_NAMES = {
    "NVIDIA A100-SXM4-40GB": "a100-40gb",
    "NVIDIA A100-PCIE-40GB": "a100-40gb",
    "NVIDIA A100-SXM4-80GB": "a100-80gb",
    "NVIDIA A100 80GB PCIe": "a100-80gb-pcie",
    "NVIDIA H100 80GB HBM3": "h100-sxm",
    "NVIDIA H100 PCIe": "h100-pcie",
    "NVIDIA H100 NVL": "h100-nvl",
    "NVIDIA H200": "h200",
    "NVIDIA B200": "b200",
    "Tesla V100-SXM2-16GB": "v100-16gb",
    "Tesla V100-SXM2-32GB": "v100-32gb",
    "Tesla V100-PCIE-16GB": "v100-16gb-pcie",
    "Tesla V100-PCIE-32GB": "v100-32gb-pcie",
    "Tesla T4": "t4",
    "NVIDIA A10": "a10",
    "NVIDIA A10G": "a10g",
    "NVIDIA L4": "l4",
    "NVIDIA L40S": "l40s",
    "NVIDIA RTX A6000": "rtx-a6000",
    "NVIDIA RTX 6000 Ada Generation": "rtx-6000-ada",
    "NVIDIA GeForce RTX 3090": "rtx-3090",
    "NVIDIA GeForce RTX 4090": "rtx-4090",
}
"""What the driver calls the devices we have peaks of. No name is ever taken for another."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is measured on, as far as a prediction needs it."""

    title: str
    device: DeviceSpec | None
    """Whose peaks the roofline takes; None: there is no time."""
    memory_bytes: int | None
    """What a point may take at most; None: not known."""
    why_unknown: str | None = None
    """Why there is no device."""


def this_machine(kind: str, predict_for: str | None = None) -> Machine:
    """The machine at hand, or the device that is to be predicted for instead.

    Raises:
        BadInput: no device of that name.
    """
    if predict_for is not None:
        device = find_device(predict_for)
        return Machine(device.title, device, device.memory_bytes)
    if kind == "cpu":
        return Machine("this CPU", None, _available_bytes(), "no roofline of a CPU")
    try:
        gpu = open_gpu()
    except NoGpu as error:
        return Machine("no GPU", None, None, str(error))
    name = _DRIVER_NAMES.get(gpu.name)
    if name is None or name not in DEVICES:
        return Machine(gpu.name, None, gpu.memory_bytes, f"no peaks of {gpu.name} are known")
    return Machine(gpu.name, DEVICES[name], gpu.memory_bytes)


def predict(point: Point, device: DeviceSpec | None = None) -> Prediction:
    """FLOPs, peak memory and roofline time of a point as it is run.

    A step that computes the logits of its last token only (``infer``) is counted so in FLOPs and
    time.
    """
    model, work, recurrence = point.built_model, point.workload(), point.recurrence()
    peak = estimate_memory(model, work, recurrence, device, cuda_graph=point.cuda_graph)
    flops = estimate_flops(model, work, recurrence, "matmul")
    total = flops.total
    last_only = point.mode == "forward" and point.logits == "last"
    if last_only:
        head = flops.by_name()["forward.head"]
        total -= head - head // point.tokens
    seconds = None
    if device is not None:
        try:
            time = estimate_time(model, work, device, recurrence)
            head_seconds = time.terms["forward.head"]
            seconds = time.seconds - last_only * head_seconds * (1 - 1 / point.tokens)
        except BadInput:  # no such arithmetic: no peak to predict with
            device = None
    return Prediction(
        flops=total,
        peak_bytes=peak.total,
        seconds=seconds,
        device=None if device is None else device.name,
    )


def fits(point: Point, predicted: Prediction, machine: Machine) -> bool | None:
    """Whether the point is predicted to fit in the limit or the machine; None: not known."""
    limits = [size for size in (point.memory_limit_bytes, machine.memory_bytes) if size]
    if not limits or predicted.peak_bytes is None:
        return None
    return predicted.peak_bytes <= min(limits)


def never_fits(point: Point, machine: Machine) -> str | None:
    """Why not even one token of this series can be run (weights, training state), else None."""
    least = estimate_memory(point.model, replace(point, tokens=1).workload(), point.recurrence())
    limits = [size for size in (point.memory_limit_bytes, machine.memory_bytes) if size]
    if not limits or least.total <= min(limits):
        return None
    what = "training state" if point.mode == "train" else "model"
    return (
        f"the {what} alone is predicted to take {format_bytes(least.total)} of "
        f"{format_bytes(min(limits))}"
    )


def _available_bytes() -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)
