"""Loss and gradients of a batch: eagerly, or captured once for each shape of the inputs.

Shape legend: inputs are what the learner takes; tensors of any shape, or None.

The forward and backward pass of seven segments of a small model is thousands of kernels of a few
microseconds each, which Python launches slower than a GPU runs them. A curriculum has a dozen
shapes, so that each is captured in a CUDA graph and then replayed with one launch. Dropout is
captured too: a replay draws from the generator's seed and offset at that moment, as an eager step
does, so that both drop the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rmtscale.rmt.families import NOT_CAPTURABLE
from rmtscale.study.training.segment_reader import SegmentReader

_WARM_UP = 2

Found = tuple[Tensor, Tensor | None]
"""The loss, detached, and the number of right answers where there are answers."""


@dataclass(frozen=True, slots=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Any, ...]
    found: Found


class Gradients:
    """``inputs -> loss, right answers``; the gradients are in the parameters.

    A parameter that takes no part has a gradient of zeros: the buffers stay where they are.

    Args:
        model: what is called with the inputs, where it stays.
        backward: of a loss.
        capture: on a GPU, of a model that ``can_capture``.
    """

    def __init__(
        self, model: nn.Module, backward: Callable[[Tensor], None], *, capture: bool
    ) -> None:
        self.model, self._backward, self._captures = model, backward, capture
        self._grads: list[Tensor] = []
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
                self._grads.append(parameter.grad)
        self._known: dict[tuple[Any, ...], _Captured] = {}
        self._pool: Any = None

    def __call__(self, *inputs: Any, weight: float = 1.0) -> Found:
        """Computes loss and gradients of a batch; a captured result lasts until the next call.

        Args:
            inputs: of the model.
            weight: factor of the loss, 1 where it is captured.
        """
        if not self._captures:
            return self._run(inputs, weight)
        key = tuple((tuple(x.shape), x.dtype) if isinstance(x, Tensor) else x for x in inputs)
        if key not in self._known:
            self._known[key] = self._capture(inputs)
        captured = self._known[key]
        for buffer, given in zip(captured.inputs, inputs, strict=True):
            if isinstance(buffer, Tensor):
                buffer.copy_(given)
        captured.graph.replay()
        return captured.found

    def _run(self, inputs: tuple[Any, ...], weight: float = 1.0) -> Found:
        torch._foreach_zero_(self._grads)
        outcome = self.model(*inputs)
        loss, correct = outcome if isinstance(outcome, tuple) else (outcome, None)
        if weight != 1.0:
            loss = loss * weight
        self._backward(loss)
        return loss.detach(), correct

    def _capture(self, inputs: tuple[Any, ...]) -> _Captured:
        buffers = tuple(x.clone() if isinstance(x, Tensor) else x for x in inputs)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        if self._pool is None:
            # One for all: only one of them is replayed at a time, and keeps nothing but its result.
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # The step that captures has to drop what it would drop if another one had.
        with torch.random.fork_rng(devices=[torch.cuda.current_device()]):
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    self._run(buffers)
            torch.cuda.current_stream().wait_stream(stream)
            # As in ``rmtscale.rmt.graph``: the thread that makes batches may lock memory meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                outcome = self._run(buffers)
        return _Captured(graph, buffers, outcome)


def can_capture(reader: SegmentReader) -> bool:
    """Tells whether a training step can be captured: of a model whose code copies nothing to the
    host, without activation checkpoints, which put random numbers back by way of it."""
    config = reader.rmt.config
    capturable = config.backbone_config.model_type not in NOT_CAPTURABLE
    return capturable and not config.checkpoint_segments
