"""Losses of logits that are there: which tokens are scored, and cross-entropy over them.

Shape legend: B batch, N text columns of the input, R rows, V vocabulary, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rmtscale.rmt.compiling import never_compiled

IGNORED = -100
"""A label that is not scored, as everywhere in Transformers."""


def next_token_targets(
    labels_BN: Tensor, mask_BN: Tensor | None = None, loss_mask_BN: Tensor | None = None
) -> Tensor:
    """Returns the target of each position: the label of the next text token, (B, N).

    The shift is made once over the whole input, before it is cut: the last text token of a segment
    predicts the first of the next. Every label but the first of its sample is scored once, unless
    it is ``-100`` or ``loss_mask_BN`` is False at it.
    """
    if loss_mask_BN is not None:
        labels_BN = labels_BN.masked_fill(~loss_mask_BN.bool(), IGNORED)
    targets_BN = F.pad(labels_BN[:, 1:], (0, 1), value=IGNORED)
    if mask_BN is not None:
        # Both the token that predicts and the one that is predicted have to be text.
        text_BN = mask_BN.bool() & F.pad(mask_BN[:, 1:].bool(), (0, 1), value=False)
        targets_BN = targets_BN.masked_fill(~text_BN, IGNORED)
    return targets_BN


def to_gradient(softmax_RV: Tensor, scale_R: Tensor, onehot_R: Tensor, targets_R: Tensor) -> Tensor:
    """Scales the given tensor in place by ``scale`` and subtracts ``onehot`` at the targets."""
    index_R1 = targets_R.clamp(min=0)[:, None]
    softmax_RV.mul_(scale_R[:, None])
    at_target_R1 = softmax_RV.gather(1, index_R1) - onehot_R[:, None]
    return softmax_RV.scatter_(1, index_R1, at_target_R1)


class _CrossEntropy(torch.autograd.Function):
    """Summed cross-entropy that keeps the logits and nothing else of their size.

    Torch's own keeps the log-softmax, and has three tensors of that size while it is
    differentiated; here there are two, the logits and their gradient.
    """

    @staticmethod
    def forward(ctx: Any, logits_RV: Tensor, targets_R: Tensor) -> Tensor:
        exact = torch.promote_types(logits_RV.dtype, torch.float32)
        largest_R = logits_RV.amax(1).to(exact)
        sum_R = torch.sub(logits_RV, largest_R[:, None]).exp_().sum(1)
        norm_R = largest_R + sum_R.log()
        ctx.save_for_backward(logits_RV, targets_R, norm_R)
        target_R = logits_RV.gather(1, targets_R.clamp(min=0)[:, None])[:, 0]
        return (norm_R - target_R).masked_fill(targets_R == IGNORED, 0).sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        logits_RV, targets_R, norm_R = ctx.saved_tensors
        softmax_RV = torch.sub(logits_RV, norm_R[:, None]).exp_()
        scale_R = (targets_R != IGNORED) * grad
        return to_gradient(softmax_RV, scale_R, scale_R, targets_R).to(logits_RV.dtype), None


def summed_cross_entropy(logits_RV: Tensor, targets_R: Tensor) -> Tensor:
    """Sums the loss over the scored rows, in fp32 or wider."""
    if logits_RV.requires_grad:
        loss: Tensor = _CrossEntropy.apply(logits_RV, targets_R)  # type: ignore[no-untyped-call]
        return loss
    exact = torch.promote_types(logits_RV.dtype, torch.float32)
    return F.cross_entropy(logits_RV.to(exact), targets_R, ignore_index=IGNORED, reduction="sum")


def items_in_batch(items: Tensor | int, like: Tensor) -> Tensor:
    """Returns the number of labels of a whole step, of which a call sees a part; at least 1."""
    count = torch.as_tensor(items, device=like.device)
    return count.flatten()[0].clamp(min=1)


@never_compiled
def classification_loss(
    logits_BC: Tensor,
    labels: Tensor,
    problem_type: str | None,
    num_items_in_batch: Tensor | int | None = None,
) -> Tensor:
    """Returns the mean loss of a classification head, chosen as Transformers chooses it.

    With ``num_items_in_batch`` it is the sum divided by that number: of all labels of a step of
    which these are a part.

    ``regression`` (one output, or asked for): mean squared error. ``multi_label_classification``
    (float labels, (B, C)): binary cross-entropy. Otherwise: cross-entropy, labels (B,).
    """
    exact = torch.promote_types(logits_BC.dtype, torch.float32)
    logits_BC = logits_BC.to(exact)
    parts = num_items_in_batch is not None
    how = "sum" if parts else "mean"
    if problem_type == "regression":
        loss = F.mse_loss(logits_BC.reshape(labels.shape), labels.to(exact), reduction=how)
    elif problem_type == "multi_label_classification":
        loss = F.binary_cross_entropy_with_logits(logits_BC, labels.to(exact), reduction=how)
    else:
        loss = F.cross_entropy(logits_BC, labels.long(), reduction=how)
    if num_items_in_batch is not None:
        loss = loss / items_in_batch(num_items_in_batch, loss)
    return loss
