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
from typing import Any

import torch
from torch import Tensor, nn

from rmtscale.rmt.capture import Capture, Captures
from rmtscale.rmt.families import NOT_CAPTURABLE
from rmtscale.study.training.segment_reader import SegmentReader

SHAPES = 64
"""The number of shapes that are kept captured: more than the stages of a curriculum have."""

Found = tuple[Tensor, Tensor | None]
"""The loss, detached, and the number of right answers where there are answers."""


class Gradients:
    """``inputs -> loss, right answers``; the gradients are in the parameters.

    A parameter that takes no part has a gradient of zeros: the buffers stay where they are.

    Args:
        model: what is called with the inputs, where it stays.
        backward: of a loss.
        capture: how, of a model that ``can_capture``; None runs eagerly.
    """

    def __init__(
        self, model: nn.Module, backward: Callable[[Tensor], None], *, capture: Capture | None
    ) -> None:
        self.model, self._backward = model, backward
        # A curriculum meets each of its shapes again and again: at first sight.
        self._captures = None if capture is None else Captures(capture, SHAPES)
        self._grads: list[Tensor] = []
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
                self._grads.append(parameter.grad)

    def __call__(self, *inputs: Any, weight: float = 1.0) -> Found:
        """Computes loss and gradients of a batch; a captured result lasts until the next call.

        Args:
            inputs: of the model.
            weight: factor of the loss, 1 where it is captured.
        """
        if self._captures is None:
            return self._run(*inputs, weight=weight)
        work = self._captures.find("gradients", inputs, self._run)
        assert work is not None, "captured at first sight"
        found: Found = work.replay(inputs)
        return found

    def _run(self, *inputs: Any, weight: float = 1.0) -> Found:
        torch._foreach_zero_(self._grads)
        outcome = self.model(*inputs)
        loss, correct = outcome if isinstance(outcome, tuple) else (outcome, None)
        if weight != 1.0:
            loss = loss * weight
        self._backward(loss)
        return loss.detach(), correct


def can_capture(reader: SegmentReader) -> bool:
    """Tells whether a training step can be captured: of a model whose code copies nothing to the
    host, without activation checkpoints, which put random numbers back by way of it."""
    config = reader.rmt.config
    capturable = config.backbone_config.model_type not in NOT_CAPTURABLE
    return capturable and not config.checkpoint_segments
