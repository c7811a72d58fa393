"""What share of the time the GPU computes: whether a step is bound by it or by Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of ``(start, end)``: kernels that run side by side count once."""
    total, end = 0.0, float("-inf")
    for begin, stop in sorted(spans):
        total += max(0.0, stop - max(begin, end))
        end = max(end, stop)
    return total


def busy_share(work: Callable[[], T]) -> tuple[T, float]:
    """What ``work`` returns, and the share of its time in which a kernel of this process ran.

    Recording kernels slows the host down, so that the share without the profiler is no lower.
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
