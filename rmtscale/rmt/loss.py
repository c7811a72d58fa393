"""Losses summed segment by segment, so that logits of the whole sequence never exist at once.

Shape legend: B batch, N text columns of the input, L segment tokens, R = B times L rows,
E embedding width, V vocabulary, C classes.

A language-model head is V wide: its log-probabilities for 16,000 tokens of GPT-2 are 3 GiB in
fp32, and plain autograd keeps them from the forward to the backward pass. Here the gradient of a
segment's loss is worked out together with the loss, while its logits are there anyway: what is
kept is the gradient by the hidden states (R, E) and one sum over all segments for the weight. The
same three matmuls, at another time. (The idea of fusing head and cross-entropy is common, e.g.
Wijmans et al. 2024, arXiv 2411.09009.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rmtscale.rmt.compiling import never_compiled
from rmtscale.rmt.cross_entropy import IGNORED, summed_cross_entropy, to_gradient
from rmtscale.rmt.own_head import HeadGradients, OwnHead, hand_out, segment_loss

_HALF_ROOM = 2.0**15
"""Half of what fp16 can hold: the largest sum that is aimed at."""


class _WeightGradients:
    """Gradients of the head's weight and bias, summed over the segments of one forward pass.

    Args:
        head: whose weights.
        in_place: no second matrix of the weight's size, where that can be done without.
    """

    def __init__(self, head: nn.Linear, in_place: bool = False) -> None:
        self.in_place = in_place
        self.weight_VE: Tensor | None = None
        self.bias_V: Tensor | None = None
        self.words = head.weight.shape[0]
        self.wanted = (
            head.weight.requires_grad,
            head.bias is not None and head.bias.requires_grad,
        )

    def add(self, error_RV: Tensor, hidden_RE: Tensor, scale: Tensor | None) -> None:
        # A sum of many segments: in fp32 or wider whatever the matmul ran in.
        exact = torch.promote_types(error_RV.dtype, torch.float32)
        known_VE = self.weight_VE
        in_place = self.in_place and scale is None and error_RV.dtype == exact
        # Columns behind the words are no gradient of a weight.
        error_VR = error_RV.t()[: self.words]
        if self.wanted[0] and in_place and known_VE is not None:
            known_VE.addmm_(error_VR, hidden_RE)
        elif self.wanted[0]:
            weight_VE = torch.mm(error_VR, hidden_RE)
            if self.weight_VE is None:
                weight_VE = weight_VE.to(exact)
                self.weight_VE = weight_VE if scale is None else weight_VE.div_(scale)
            elif scale is None:
                self.weight_VE.add_(weight_VE)
            else:  # in one step, without a wide copy of it
                self.weight_VE.addcdiv_(weight_VE, scale)
        if self.wanted[1]:
            bias_V = error_RV.sum(0, dtype=exact)[: self.words]
            if scale is not None:
                bias_V.div_(scale)
            self.bias_V = bias_V if self.bias_V is None else self.bias_V.add_(bias_V)


def _half_scale(error_RV: Tensor, hidden_RE: Tensor, weight_VE: Tensor) -> Tensor:
    """Returns the power of two with which both products of the error fit into fp16.

    The loss scale of a mixed-precision training comes later, with the backward pass, so that a sum
    over many rows that overflows here would overflow under any scale; and the error of most words
    is so small that fp16 would round it to zero.
    """
    column = torch.linalg.vector_norm(error_RV, ord=1, dim=0).amax()
    # The largest by its norm: ``abs`` would make a second matrix of the head's size for a moment.
    by_weight = column * torch.linalg.vector_norm(hidden_RE, ord=math.inf).float()
    by_hidden = 2 * torch.linalg.vector_norm(weight_VE, ord=math.inf).float()
    # Twice, because an error adds up to at most 2 in a row.
    bound = torch.maximum(torch.maximum(by_weight, by_hidden), column.new_tensor(1.0))
    return torch.exp2(torch.floor(torch.log2(_HALF_ROOM / bound)))


class _Columns:
    """A linear head as its matmuls run it.

    Args:
        head: of V words.
        columns: how many columns the matmuls have; those behind V are no words.
        compile_loss: compile what stands between the matmuls.
    """

    def __init__(self, head: nn.Linear, columns: int | None, *, compile_loss: bool) -> None:
        self.words, self.compile_loss = head.weight.shape[0], compile_loss
        self.weight_VE: Tensor = head.weight
        self.bias_V: Tensor | None = head.bias
        more = max((columns or 0) - self.words, 0)
        if more:
            self.weight_VE = F.pad(head.weight.detach(), (0, 0, 0, more))
            if head.bias is not None:
                self.bias_V = F.pad(head.bias.detach(), (0, more))

    def logits(self, hidden_RE: Tensor) -> Tensor:
        logits_RV = F.linear(hidden_RE, self.weight_VE, self.bias_V)
        if logits_RV.shape[1] > self.words:
            logits_RV[:, self.words :] = -math.inf
        return logits_RV


def loss_and_error(logits_RV: Tensor, targets_R: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the summed cross-entropy and its gradient by the logits, in their dtype.

    To be compiled: two or three kernels, and no tensor of the logits' size in fp32.
    """
    exact_RV = logits_RV.to(torch.promote_types(logits_RV.dtype, torch.float32))
    scored_R = targets_R != IGNORED
    index_R1 = targets_R.clamp(min=0)[:, None]
    norm_R = exact_RV.logsumexp(1)
    target_R = exact_RV.gather(1, index_R1)[:, 0]
    loss = (norm_R - target_R).masked_fill(~scored_R, 0).sum()
    column_1V = torch.arange(logits_RV.shape[1], device=logits_RV.device)[None]
    softmax_RV = (exact_RV - norm_R[:, None]).exp()
    error_RV = (softmax_RV - (column_1V == index_R1).to(exact_RV)) * scored_R[:, None]
    return loss, error_RV.to(logits_RV.dtype)


@cache
def compiled_loss() -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Returns ``loss_and_error``, compiled for each shape that it meets."""
    compiled: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = torch.compile(
        loss_and_error, dynamic=False
    )
    return compiled


class _HeadLoss(torch.autograd.Function):
    """Summed cross-entropy of one segment and, at once, its gradients."""

    @staticmethod
    def forward(
        ctx: Any, hidden_RE: Tensor, targets_R: Tensor, head: _Columns, sums: _WeightGradients
    ) -> Tensor:
        error_RV = head.logits(hidden_RE)
        compute = error_RV.dtype
        if head.compile_loss:
            loss, error_RV = compiled_loss()(error_RV, targets_R.contiguous())
        else:
            # From logits to loss and gradient in place: one (R, V) tensor in fp32 or wider.
            error_RV = error_RV.to(torch.promote_types(compute, torch.float32))
            scored_R = targets_R != IGNORED
            error_RV.sub_(error_RV.amax(1, keepdim=True))
            target_R = error_RV.gather(1, targets_R.clamp(min=0)[:, None])[:, 0]
            sum_R = error_RV.exp_().sum(1)
            loss = (sum_R.log() - target_R).masked_fill(~scored_R, 0).sum()
            # d loss / d logits = softmax - onehot in scored rows, 0 in the others.
            error_RV = to_gradient(error_RV, scored_R / sum_R, scored_R.to(sum_R), targets_R)
        scale = None
        if compute == torch.half:
            scale = _half_scale(error_RV, hidden_RE, head.weight_VE)
            error_RV.mul_(scale)
        error_RV = error_RV.to(compute)
        sums.add(error_RV, hidden_RE.to(compute), scale)
        if ctx.needs_input_grad[0]:
            grad_RE = torch.mm(error_RV, head.weight_VE.to(compute)).to(hidden_RE.dtype)
            # And not attributes, which outlive their use.
            ctx.save_for_backward(grad_RE, scale)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        grad_RE, scale = ctx.saved_tensors
        if scale is not None:
            return (grad_RE.float() * (grad / scale)).to(grad_RE.dtype), None, None, None
        return grad_RE * grad.to(grad_RE.dtype), None, None, None


class _Total(torch.autograd.Function):
    """The sum of the segments' losses; hands the summed gradients to the head's weights."""

    @staticmethod
    def forward(
        ctx: Any, total: Tensor, weight: Tensor, bias: Tensor | None, sums: _WeightGradients
    ) -> Tensor:
        ctx.save_for_backward(sums.weight_VE, sums.bias_V)
        ctx.dtypes = (weight.dtype, None if bias is None else bias.dtype)
        ctx.in_place = sums.in_place
        return total.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        weight_VE, bias_V = ctx.saved_tensors
        if weight_VE is not None:
            weight_VE = weight_VE.mul_(grad) if ctx.in_place else weight_VE * grad
        return (
            grad,
            None if weight_VE is None else weight_VE.to(ctx.dtypes[0]),
            None if bias_V is None else (bias_V * grad).to(ctx.dtypes[1]),
            None,
        )


def can_fuse(head: nn.Module | OwnHead) -> bool:
    """Whether a head is a plain linear layer that nobody has hooked or replaced (LoRA, offload)."""
    return (
        type(head) is nn.Linear
        and type(head.weight) is nn.Parameter
        and not head._forward_hooks
        and not head._forward_pre_hooks
        and "forward" not in vars(head)
    )


class SegmentLosses:
    """Adds up the loss of one forward pass, segment by segment.

    Use one object per ``backward``: the gradients of the head's weight are summed in it.

    Args:
        head: hidden states to logits.
        columns: of the matmuls of a plain linear head; a multiple of 8 suits them in 16 bits. The
            loss is the same.
        narrow: score a few rows at a time, whose logits take no more memory than two hidden states
            of the segment: for a caller that has the activations of a segment beside them.
        compile_loss: compile what stands between the matmuls of a plain linear head.
    """

    def __init__(
        self,
        head: nn.Module | OwnHead,
        columns: int | None = None,
        *,
        narrow: bool = False,
        compile_loss: bool = False,
    ) -> None:
        self.head, self.narrow = head, narrow
        own = isinstance(head, OwnHead) and torch.is_grad_enabled()
        self.own = HeadGradients(head) if own else None  # type: ignore[arg-type]
        self.fused = can_fuse(head) and torch.is_grad_enabled()
        self.sums = _WeightGradients(head, narrow) if self.fused else None  # type: ignore[arg-type]
        self.columns: _Columns | None = None
        if self.fused:
            self.columns = _Columns(head, columns, compile_loss=compile_loss)  # type: ignore[arg-type]
        self.total: Tensor | None = None

    @never_compiled
    def add(self, loss: Tensor) -> None:
        """Adds a segment whose loss was worked out elsewhere (logits are kept, or recomputed)."""
        self.total = loss if self.total is None else self.total + loss

    @never_compiled
    def score(self, hidden_BLE: Tensor, targets_BL: Tensor) -> None:
        """Scores a segment of which only the loss is wanted."""
        hidden_RE, targets_R = hidden_BLE.flatten(0, 1), targets_BL.flatten()
        rows = len(hidden_RE)
        if self.narrow:
            embeddings = getattr(self.head, "weight", None)
            vocabulary = rows if embeddings is None else embeddings.shape[0]
            rows = max(2 * hidden_RE.numel() // vocabulary, 1)
        for part_RE, part_R in zip(
            torch.split(hidden_RE, rows), torch.split(targets_R, rows), strict=True
        ):
            self._score(part_RE, part_R)

    def _score(self, hidden_RE: Tensor, targets_R: Tensor) -> None:
        if self.sums is not None and (hidden_RE.requires_grad or any(self.sums.wanted)):
            loss: Tensor = _HeadLoss.apply(  # type: ignore[no-untyped-call]
                hidden_RE, targets_R, self.columns, self.sums
            )
            self.add(loss)
        elif self.own is not None:
            self.add(segment_loss(hidden_RE, self.own, lambda x: self._plain(x, targets_R)))
        elif torch.is_grad_enabled():
            # A head with LoRA or the like has a backward pass of its own; recomputing it is what
            # keeps the log-probabilities of only one segment alive.
            self.add(checkpoint(self._plain, hidden_RE, targets_R, use_reentrant=False))
        else:
            self.add(self._plain(hidden_RE, targets_R))

    def _plain(self, hidden_RE: Tensor, targets_R: Tensor) -> Tensor:
        return summed_cross_entropy(self.head(hidden_RE), targets_R)

    @never_compiled
    def result(self) -> Tensor:
        """Returns the sum over everything that was added."""
        assert self.total is not None, "nothing was scored"
        if self.own is not None:
            return hand_out(self.total, self.own)
        if self.sums is None or not (self.total.requires_grad or any(self.sums.wanted)):
            return self.total
        head: Any = self.head
        total: Tensor = _Total.apply(  # type: ignore[no-untyped-call]
            self.total, head.weight, head.bias, self.sums
        )
        return total
