"""The device of a training or an evaluation: found, and watched while it works."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter
from typing import Any, TypeVar

import torch

from rmtscale.errors import BadInput
from rmtscale.locks import one_user
from rmtscale.profiler.memory import CudaMeter, MemoryMeter, ResidentMeter
from rmtscale.records.nvml import Gpu, NoGpu, open_gpu

DEVICES = ("cpu", "cuda")
T = TypeVar("T")


def find_device(name: str | None) -> torch.device:
    """Finds the torch device asked for; None is the GPU if there is one.

    Raises:
        BadInput: another name, or a GPU that is not there.
    """
    if name not in (None, *DEVICES):
        raise BadInput(f"device {name!r}: expected cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("device 'cuda': no GPU that torch can use, expected --device cpu here")
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def own_device(accelerator: Any) -> torch.device:
    """Returns the device of a process; a CPU is ``cpu``, whatever accelerate counts.

    On a ``cpu:0`` torch takes ``to`` for a move: it copies weights, and gradients out of buffers
    that they have to stay in.
    """
    found: torch.device = accelerator.device
    return torch.device("cpu") if found.type == "cpu" else found


def seed_draws(device: torch.device, seed: int) -> None:
    """Seeds what is drawn on a device and on the CPU.

    Of a CPU alone, no other kind of device is asked: torch would write down its whole stack for
    each that it has not started, in every step.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


@contextmanager
def in_use(device: torch.device) -> Iterator[None]:
    """Holds a device for a training or an evaluation, so that nothing is measured beside it.

    Raises:
        BadInput: another process measures on it.
    """
    with one_user(device.type, device.index or 0):
        yield


def precision_on(device: torch.device, precision: str) -> str:
    """Chooses fp32 on a CPU, which emulates bf16 at a fraction of the speed."""
    return "fp32" if device.type == "cpu" else precision


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Makes the context in which a model runs in a precision."""
    if precision == "fp32":
        return nullcontext()
    # Weights that are cast once and kept would be outside of a captured graph.
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


def open_meter(device: torch.device) -> tuple[MemoryMeter, Gpu | None]:
    """Opens what measures memory on a device, and its GPU where the driver knows one."""
    if device.type != "cuda":
        return ResidentMeter(), None
    try:
        gpu: Gpu | None = open_gpu()
    except NoGpu:
        gpu = None
    return CudaMeter(gpu), gpu


def begin_peak(device: torch.device) -> None:
    """Counts the peak from here on, without what an earlier training in this process left."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.reset_peak_memory_stats(device)


def peak_allocated_bytes(device: torch.device) -> int | None:
    """Reads the peak that torch allocated on a GPU since ``begin_peak``; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Measures the union of some ``(start, end)``: kernels side by side count once."""
    total, end = 0.0, float("-inf")
    for begin, stop in sorted(spans):
        total += max(0.0, stop - max(begin, end))
        end = max(end, stop)
    return total


def gpu_utilization(work: Callable[[], T]) -> tuple[T, float]:
    """Measures the GPU utilization of ``work``: whether it is bound by the GPU or by Python.

    Recording kernels slows the host down, so that the utilization without the profiler is no lower.

    Returns:
        The result of ``work``, and the share of its time in which a kernel of this process ran.
    """
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        start = perf_counter()
        result = work()
        torch.cuda.synchronize()
        seconds = perf_counter() - start
    events: Any = profiler.events()
    gpu: Any = torch.autograd.DeviceType.CUDA  # type: ignore[attr-defined]
    kernels = [
        (event.time_range.start, event.time_range.end)
        for event in events or ()
        if event.device_type == gpu
    ]
    return result, covered(kernels) * 1e-6 / seconds
