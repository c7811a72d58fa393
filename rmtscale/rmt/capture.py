"""Work captured in CUDA graphs, once for each shape of its inputs, and replayed with one launch.

Shape legend: inputs and results are tensors of any shape, or None.

Thousands of kernels of a few microseconds each are launched by Python slower than a GPU runs them.
A captured piece of work reads its inputs from buffers of its own and leaves its results in others,
which the next replay overwrites. All captures of one ``GraphCapture`` share a memory pool: only one
of them runs at a time, and what one no longer needs the next may use.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch
from torch import Tensor

Inputs = tuple[Any, ...]
Function = Callable[..., Any]

_WARM_UP = 2
_REMEMBERED = 4096
"""Shapes that were seen but not captured, and are still known."""


class Work(Protocol):
    """A function that was captured with inputs of one shape."""

    def replay(self, inputs: Inputs) -> Any:
        """Runs it on other values; the result lasts until the next replay."""


class Capture(Protocol):
    """Makes works."""

    def refusal(self, device: torch.device) -> str | None:
        """Says why nothing can be captured on a device; None where it can."""

    def __call__(self, function: Function, inputs: Inputs) -> Work: ...


class GraphWork:
    """One CUDA graph."""

    def __init__(self, function: Function, inputs: Inputs, pool: Any, stream: Any) -> None:
        self._inputs = own_copies(inputs)
        self._graph = torch.cuda.CUDAGraph()
        # The step that captures has to drop what it would drop if another one had.
        with torch.random.fork_rng(devices=[torch.cuda.current_device()]):
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    function(*self._inputs)
            torch.cuda.current_stream().wait_stream(stream)
            # Another thread, such as one that makes batches, may lock memory meanwhile.
            with torch.cuda.graph(
                self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"
            ):
                self._results = function(*self._inputs)

    def replay(self, inputs: Inputs) -> Any:
        copy_into(self._inputs, inputs)
        self._graph.replay()
        return self._results


class GraphCapture:
    """Captures CUDA graphs that share one memory pool."""

    def __init__(self) -> None:
        self._pool: Any = None
        # One for warming up and capturing: cuBLAS keeps a workspace for each stream.
        self._stream: Any = None

    def refusal(self, device: torch.device) -> str | None:
        return None if device.type == "cuda" else f"the model is on {device}, not on an NVIDIA GPU"

    def __call__(self, function: Function, inputs: Inputs) -> Work:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            _make_workspaces(self._stream)
        return GraphWork(function, inputs, self._pool, self._stream)


def _make_workspaces(stream: Any) -> None:
    """Has cuBLAS allocate what it keeps for a stream.

    Among the blocks of a step it would hold a larger piece of memory in which they stood.
    """
    with torch.cuda.stream(stream), torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            rows = torch.zeros(64, 64, device="cuda", dtype=dtype)
            torch.addmm(rows[0], torch.mm(rows, rows), rows)  # a bias: by cuBLASLt


def own_copies(inputs: Inputs) -> Inputs:
    """Returns buffers with the values of the inputs; what is no tensor is itself."""
    return tuple(
        x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x
        for x in inputs
    )


@torch.no_grad()
def copy_into(buffers: Inputs, inputs: Inputs) -> None:
    """Writes the values of the inputs into buffers of the same shapes."""
    for buffer, given in zip(buffers, inputs, strict=True):
        if isinstance(buffer, Tensor):
            buffer.copy_(given, non_blocking=True)


class Captures:
    """Works by key and shapes of their inputs; the one unused for longest makes room.

    Args:
        capture: makes them.
        limit: how many are kept.
        sights: a shape is captured when it is seen for this time. Capturing takes as long as some
            steps: with 2, shapes that never come again cost nothing. While nothing is kept a shape
            is captured at once: what an optimizer allocates in its first step would else lie among
            the freed blocks of an eager step, and a graph cannot use what is left between.
    """

    def __init__(self, capture: Capture, limit: int, sights: int = 1) -> None:
        self._capture, self._limit, self._sights = capture, limit, sights
        self._works: OrderedDict[Hashable, Work] = OrderedDict()
        self._seen: OrderedDict[Hashable, int] = OrderedDict()
        self._failed: set[Hashable] = set()

    def __len__(self) -> int:
        return len(self._works)

    def clear(self) -> None:
        """Forgets all of them."""
        self._works.clear()
        self._seen.clear()
        self._failed.clear()

    def find(self, key: Hashable, inputs: Inputs, function: Function) -> Work | None:
        """Returns the work of these shapes, captured if need be; None before its time, and where
        capturing has failed once.

        Args:
            key: all that it depends on but the shapes of the inputs.
            inputs: what is copied into its buffers; anything but a tensor is part of the key.
            function: what is captured; called with buffers of the shapes of the inputs.

        Raises:
            RuntimeError: what capturing failed with.
        """
        whole = key, tuple(_shape(x) for x in inputs)
        if whole in self._failed:
            return None
        work = self._works.get(whole)
        if work is None:
            seen = self._seen.pop(whole, 0) + 1
            if seen < self._sights and self._works:
                self._seen[whole] = seen
                if len(self._seen) > _REMEMBERED:
                    self._seen.popitem(last=False)
                return None
            while len(self._works) >= self._limit:
                self._works.popitem(last=False)
            try:
                work = self._works[whole] = self._capture(function, inputs)
            except RuntimeError:
                self._failed.add(whole)
                raise
        self._works.move_to_end(whole)
        return work


def _shape(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype, value.requires_grad
    found: Hashable = value
    return found
