"""Finds the fastest of torch's attention kernels for a shape, measured once on the GPU at hand.

Shape legend: B batch, H heads, T positions of a segment, D width of a head.

Torch takes the first kernel of a fixed order that can run a shape. For the thousand positions of a
segment another one may be faster. Each is captured and replayed, so that the time of the GPU is
measured and not that of the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from rmtscale.rmt.capturable import draws
from rmtscale.rmt.compiling import never_compiled

KERNELS = (
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
)
_CALLS, _REPLAYS = 8, 3


@dataclass(frozen=True, slots=True)
class Shape:
    """All that the time of an attention kernel depends on."""

    batch: int
    heads: int
    positions: int
    width: int
    dtype: torch.dtype
    causal: bool
    train: bool
    device: torch.device


@never_compiled
def fastest_attention(model: Any, batch: int) -> AbstractContextManager[Any]:
    """Puts the kernel first that is fastest for a full segment of a model; a context.

    Left as it is: attention that is not torch's own, in fp32 (which one kernel alone can run), on a
    CPU, under dropout (kernels draw differently), and where algorithms have to be deterministic.

    Args:
        model: an RMT.
        batch: B.
    """
    weight = model.embedding_VE
    kind, dtype = weight.device.type, weight.dtype
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    inner = model.config.backbone_config
    if (
        kind != "cuda"
        or dtype not in (torch.bfloat16, torch.half)
        or inner._attn_implementation != "sdpa"
        or torch.are_deterministic_algorithms_enabled()
        or draws(model)
    ):
        return nullcontext()
    heads = inner.num_attention_heads
    width = getattr(inner, "head_dim", None) or inner.hidden_size // heads
    shape = Shape(
        batch,
        heads,
        model.config.segment_size,
        width,
        dtype,
        model.causal,
        torch.is_grad_enabled(),
        weight.device,
    )
    return sdpa_kernel([*_measured(shape), SDPBackend.MATH], set_priority=True)


@cache
def _measured(shape: Shape) -> tuple[SDPBackend, ...]:
    return fastest_first(KERNELS, lambda kernel: attention_seconds(kernel, shape))


def fastest_first(
    kernels: Sequence[SDPBackend], seconds: Callable[[SDPBackend], float | None]
) -> tuple[SDPBackend, ...]:
    """Returns the kernels in the order of their times; those that have none come last."""
    times = {kernel: seconds(kernel) for kernel in kernels}
    return tuple(sorted(kernels, key=lambda x: (times[x] is None, times[x] or 0.0)))


def attention_seconds(kernel: SDPBackend, shape: Shape) -> float | None:
    """Measures one kernel, in seconds a call; with its backward pass in training. None: it cannot.

    Raises nothing: a kernel that fails is one that cannot run.
    """
    sizes = (shape.batch, shape.heads, shape.positions, shape.width)
    try:
        with torch.cuda.device(shape.device), sdpa_kernel(kernel), torch.enable_grad():
            # With a generator of its own: the caller's draws nothing here.
            made = torch.Generator(shape.device)
            query, key, value, gradient = (
                torch.randn(sizes, dtype=shape.dtype, device=shape.device, generator=made)
                for _ in range(4)
            )
            for one in (query, key, value):
                one.requires_grad_(shape.train)

            def call() -> None:
                out = F.scaled_dot_product_attention(query, key, value, is_causal=shape.causal)
                if shape.train:
                    torch.autograd.grad(out, (query, key, value), gradient)

            return _replayed_seconds(call)
    except RuntimeError:
        return None


def _replayed_seconds(call: Callable[[], None]) -> float:
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    event: Any = torch.cuda.Event
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        for _ in range(_CALLS):
            call()
    graph.replay()
    times = []
    for _ in range(_REPLAYS):
        first, last = event(enable_timing=True), event(enable_timing=True)
        first.record()
        graph.replay()
        last.record()
        last.synchronize()
        times.append(first.elapsed_time(last) / 1000 / _CALLS)
    return float(min(times))
