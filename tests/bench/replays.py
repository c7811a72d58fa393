"""Times of captured work: replays, one after another, and the kernels in them."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from tests.bench.rmt_h200 import segment_flops

Function = Callable[[], Any]


def replayed_seconds(call: Function, device: Any, repeats: int = 5) -> float:
    """Seconds of one ``call``, captured and replayed; on a CPU of one call."""
    import torch

    if device.type != "cuda":
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin
    graph = captured(call)
    times = []
    for _ in range(repeats):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        first.record()
        graph.replay()
        last.record()
        last.synchronize()
        times.append(first.elapsed_time(last) / 1000)
    return float(statistics.median(times))


def captured(call: Function) -> Any:
    """A graph of ``call``, warmed up and replayed once."""
    import torch

    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        call()
    graph.replay()
    torch.cuda.synchronize()
    return graph


def kernel_table(call: Function, calls: int) -> dict[str, Any]:
    """Kernels of one call by name, and how long the GPU had none to run between them."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as run:
        for _ in range(calls):
            call()
        torch.cuda.synchronize()
    seconds: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    spans = []
    for event in run.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:  # type: ignore[attr-defined]
            seconds[event.name] += event.time_range.elapsed_us() / 1e6 / calls
            count[event.name] += 1
            spans.append((event.time_range.start, event.time_range.end))
    spans.sort()
    gaps, end = 0.0, spans[0][1] if spans else 0.0
    for first, last in spans[1:]:
        gaps += max(first - end, 0.0) / 1e6
        end = max(end, last)
    rows = [
        {"kernel": name[:120], "count": count[name] / calls, "seconds": seconds[name]}
        for name in sorted(seconds, key=lambda name: -seconds[name])
    ]
    return {
        "kernels": rows,
        "kernel_seconds_sum": sum(seconds.values()),
        "kernels_per_step": len(spans) / calls,
        "gap_seconds": gaps / calls,
    }


def timed(
    call: Function,
    given: dict[str, Any],
    device: Any,
    batch: int,
    *,
    table: bool,
    flops: int | None = None,
) -> dict[str, Any]:
    """Seconds of one of many calls in a row, the share of its kernels, and the FLOP/s."""
    import torch

    many = 200 if device.type == "cuda" else 1
    walls = []
    for _ in range(3):
        if device.type == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(many):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        walls.append((time.perf_counter() - begin) / many)
    seconds = statistics.median(walls)
    flops = batch * segment_flops(given["segment"], given) if flops is None else flops
    found = {
        "batch_size": batch,
        "iteration_seconds": seconds,
        "matmul_flops": flops,
        "flops_per_second": flops / seconds,
    }
    return found | (kernel_table(call, 10) if table and device.type == "cuda" else {})
