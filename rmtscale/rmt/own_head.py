"""The loss of a head that is not one linear layer: soft-caps, scales, transforms, all its own.

Shape legend: B batch, L segment tokens, R = B times L rows, E embedding width, V vocabulary.

As in ``loss.py``, the gradient of a segment's loss is worked out together with the loss, while its
logits are there anyway; here by autograd, through whatever the backbone's own forward does. What is
kept is the gradient by the hidden states and one sum over all segments for each weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rmtscale.rmt.body import Body

_HALF_ROOM = 2.0**15
"""Half of what fp16 can hold: the largest sum that is aimed at."""


class OwnHead:
    """A backbone's own way from hidden states to logits."""

    def __init__(self, body: Body, backbone: nn.Module) -> None:
        self.body, self.backbone = body, backbone

    def __call__(self, hidden: Tensor) -> Tensor:
        if hidden.ndim == 2:
            return self.body.logits(self.backbone, hidden[None])[0]
        return self.body.logits(self.backbone, hidden)

    def trained(self) -> list[nn.Parameter]:
        """Everything of the backbone that is trained: a head may use any of it."""
        return [parameter for parameter in self.backbone.parameters() if parameter.requires_grad]


class HeadGradients:
    """Gradients of a head's weights, summed over the segments of one forward pass."""

    def __init__(self, head: OwnHead) -> None:
        self.head = head
        self.weights: list[nn.Parameter] | None = None
        """Those that the head uses; known after the first segment."""
        self.sums: list[Tensor] = []

    def add(self, loss: Tensor, hidden: list[Tensor], scale: Tensor | None) -> Tensor | None:
        """Differentiates a segment's loss; returns the gradient by its hidden states.

        Args:
            loss: of one segment.
            hidden: what it was made of, if its gradient is wanted.
            scale: is multiplied to the loss, and is still in the gradient that is returned.
        """
        asked = self.head.trained() if self.weights is None else self.weights
        scaled = loss if scale is None else loss * scale
        grads = torch.autograd.grad(scaled, [*hidden, *asked], allow_unused=True)
        found = list(zip(asked, grads[len(hidden) :], strict=True))
        if self.weights is None:
            self.weights = [weight for weight, grad in found if grad is not None]
            self.sums = [_unscaled(grad, scale) for _, grad in found if grad is not None]
        else:
            for total, (_, grad) in zip(self.sums, found, strict=True):
                if scale is None:
                    total.add_(grad)
                else:  # in one step, without a wide copy of it
                    total.addcdiv_(grad, scale)
        return grads[0] if hidden else None


def _unscaled(grad: Tensor, scale: Tensor | None) -> Tensor:
    """A copy in fp32 or wider, whatever the matmul ran in: a sum of many segments."""
    wide = grad.to(torch.promote_types(grad.dtype, torch.float32), copy=True)
    return wide if scale is None else wide.div_(scale)


def _half_scale(hidden_RE: Tensor) -> Tensor | None:
    """Returns the power of two with which a sum over all rows fits into fp16; None in others.

    The loss scale of a mixed-precision training comes later, with the backward pass, so that a sum
    that overflows here would overflow under any scale.
    """
    kind = hidden_RE.device.type
    autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    dtype = torch.get_autocast_dtype(kind) if autocast else hidden_RE.dtype
    if dtype != torch.half:
        return None
    bound = (len(hidden_RE) * hidden_RE.abs().amax().float()).clamp(min=1.0)
    return torch.exp2(torch.floor(torch.log2(_HALF_ROOM / bound)))


class _SegmentLoss(torch.autograd.Function):
    """Loss of one segment and, at once, its gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_RE: Tensor,
        gradients: HeadGradients,
        loss_of: Callable[[Tensor], Tensor],
    ) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        scale = _half_scale(hidden_RE)
        with torch.enable_grad():
            own_RE = hidden_RE.detach().requires_grad_(wanted)
            loss = loss_of(own_RE)
            grad_RE = gradients.add(loss, [own_RE] if wanted else [], scale)
        if wanted:
            ctx.save_for_backward(grad_RE, scale)  # and not attributes, which outlive their use
        return loss.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None
        grad_RE, scale = ctx.saved_tensors
        if scale is not None:
            return (grad_RE.float() * (grad / scale)).to(grad_RE.dtype), None, None
        return grad_RE * grad.to(grad_RE.dtype), None, None


class _Total(torch.autograd.Function):
    """The sum of the segments' losses; hands the summed gradients to the head's weights."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, sums: list[Tensor], *weights: Tensor) -> Tensor:
        ctx.save_for_backward(*sums)
        ctx.dtypes = [weight.dtype for weight in weights]
        return total.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        sums = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return (grad, None, *((total * grad).to(dtype) for total, dtype in sums))


def segment_loss(
    hidden_RE: Tensor, gradients: HeadGradients, loss_of: Callable[[Tensor], Tensor]
) -> Tensor:
    """Returns ``loss_of(hidden_RE)``, differentiated at once."""
    loss: Tensor = _SegmentLoss.apply(  # type: ignore[no-untyped-call]
        hidden_RE, gradients, loss_of
    )
    return loss


def hand_out(total: Tensor, gradients: HeadGradients) -> Tensor:
    """Returns the sum of all losses, which hands out the gradients when it is differentiated."""
    if not gradients.weights:
        return total
    handed: Tensor = _Total.apply(  # type: ignore[no-untyped-call]
        total, gradients.sums, *gradients.weights
    )
    return handed
