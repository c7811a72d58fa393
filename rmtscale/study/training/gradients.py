"""Loss and gradients of a batch: eagerly, or captured once for each shape of the inputs.

Shape legend: inputs are what the learner takes; tensors of any shape, or None.

Several processes average their gradients themselves, behind the backward pass: nothing of it is in
a graph, so that steps are captured whatever number of processes there is.

The forward and backward pass of seven segments of a small model is thousands of kernels of a few
microseconds each, which Python launches slower than a GPU runs them. A curriculum has a dozen
shapes, so that each is captured in a CUDA graph and then replayed with one launch. Dropout is
captured too: a replay draws from the generator's seed and offset at that moment, as an eager step
does, so that both drop the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rmtscale.rmt.capture import Capture, Captures
from rmtscale.rmt.families import NOT_CAPTURABLE
from rmtscale.study.training.cutting import TrainedWeights
from rmtscale.study.training.segment_reader import SegmentReader
from rmtscale.study.training.share import ALL, Share

SHAPES = 64
"""The number of shapes that are kept captured: more than the stages of a curriculum have."""
_ALIGNED_BYTES = 256
"""Each gradient begins at a multiple of this, as a tensor of its own would."""


class Found(NamedTuple):
    """Holds what a batch gives beside its gradients."""

    loss: Tensor
    """That of the task, without a gradient."""
    correct: Tensor | None
    """Number of right answers, where there are answers."""
    told_loss: Tensor | None = None
    """That of a head which tells facts, where there is one, without the weight with which it is in
    the gradients."""

    def weighted(self, factor: float) -> Found:
        """Multiplies the losses."""
        told = None if self.told_loss is None else self.told_loss * factor
        return Found(self.loss * factor, self.correct, told)


def _outcome(outcome: Any) -> tuple[Tensor, Found]:
    """Takes apart what a model returns: the loss of its gradients, and what is found."""
    loss, correct, *apart = outcome if isinstance(outcome, tuple) else (outcome, None)
    own, told = apart or (loss.detach(), None)
    return loss, Found(own, correct, told)


class Gradients:
    """``inputs -> loss, right answers``; the gradients are in the parameters.

    A parameter that takes no part has a gradient of zeros: the buffers stay where they are.

    Args:
        model: what is called with the inputs, where it stays.
        backward: of a loss.
        capture: how, of a model that ``can_capture``; None runs eagerly.
        share: of several processes, each of which has some rows of a batch; gradients are then the
            mean over all of them, weighted.
    """

    def __init__(
        self,
        model: nn.Module,
        backward: Callable[[Tensor], None],
        *,
        capture: Capture | None,
        share: Share = ALL,
    ) -> None:
        self.model, self._backward, self._share = model, backward, share
        # A curriculum meets each of its shapes again and again: at first sight.
        self._captures = None if capture is None else Captures(capture, SHAPES)
        self._flat = flat_gradients(model)
        self._trained = [weight for weight in model.parameters() if weight.requires_grad]
        self._places = self._where()

    def __call__(self, *inputs: Any, weight: float = 1.0) -> Found:
        """Computes loss and gradients of a batch; a captured result lasts until the next call.

        Args:
            inputs: of the model.
            weight: factor of loss and gradients.
        """
        if self._captures is None:
            found = self._run(*inputs)
        else:
            work = self._captures.find("gradients", inputs, self._run)
            assert work is not None, "captured at first sight"
            found = work.replay(inputs)
        if self._share.ranks > 1:
            # Not in the graph, which is captured once for all batches of a shape.
            found = found.weighted(weight)
            for flat in self._flat:
                flat.mul_(weight / self._share.ranks)
                self._share.add_up(flat)
        return found

    def _where(self) -> list[int]:
        return [-1 if x.grad is None else x.grad.data_ptr() for x in self._trained]

    def _run(self, *inputs: Any) -> Found:
        assert self._where() == self._places, "gradients stay in their buffers"
        torch._foreach_zero_(self._flat)
        loss, found = _outcome(self.model(*inputs))
        self._backward(loss)
        return found


class CutGradients:
    """``inputs -> loss, right answers``, of weights that are cut: FSDP2 averages as it reduces.

    Args:
        model: what is called with the inputs, cut and where it stays.
        backward: of a loss.
        trained: gets the gradients.
    """

    def __init__(
        self, model: nn.Module, backward: Callable[[Tensor], None], trained: TrainedWeights
    ) -> None:
        self.model, self._backward, self._trained = model, backward, trained

    def __call__(self, *inputs: Any, weight: float = 1.0) -> Found:
        """Computes loss and gradients of a batch, as ``Gradients`` does."""
        for parameter in self._trained.weights:
            parameter.grad = None
        loss, found = _outcome(self.model(*inputs))
        self._backward(loss * weight)
        self._trained.take_gradients()
        return found.weighted(weight)


def flat_gradients(model: nn.Module) -> list[Tensor]:
    """Gives every parameter that is trained a gradient of zeros, a part of one buffer for each
    dtype: one sum over all processes is all that averaging them takes.

    Returns:
        The buffers.
    """
    places: dict[tuple[torch.dtype, torch.device], list[tuple[nn.Parameter, int]]] = {}
    sizes: dict[tuple[torch.dtype, torch.device], int] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            kind = parameter.dtype, parameter.device
            begin = sizes.get(kind, 0)
            places.setdefault(kind, []).append((parameter, begin))
            aligned = _ALIGNED_BYTES // parameter.element_size()
            sizes[kind] = begin + -(-parameter.numel() // aligned) * aligned
    buffers = []
    for kind, placed in places.items():
        flat = torch.zeros(sizes[kind], dtype=kind[0], device=kind[1])
        for parameter, begin in placed:
            # Laid out as the parameter, which fused optimizers ask for.
            strides = torch.empty_like(parameter, device="meta").stride()
            parameter.grad = flat.as_strided(parameter.shape, strides, begin)
        buffers.append(flat)
    return buffers


def can_capture(reader: SegmentReader) -> bool:
    """Tells whether a training step can be captured: of a model whose code copies nothing to the
    host, without activation checkpoints, which put random numbers back by way of it; and of whole
    weights, for which no process waits."""
    config = reader.rmt.config
    capturable = config.backbone_config.model_type not in NOT_CAPTURABLE
    return capturable and not config.checkpoint_segments and not reader.cut
