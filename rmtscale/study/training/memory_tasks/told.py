"""A second loss, on what is written: a linear head tells from the memory what was read.

Shape legend: B batch, S segments of the input, M memory, E embedding width, T what is told of a
sample, Q softmaxes, C classes of each.

The loss of an answer teaches what to write into a memory only through what reads it. As long as a
thing is not written, nothing learns to read it, and as long as nothing reads it, nothing learns to
write it. This loss needs no reader but a linear map: it is that of the memory alone.

Of facts that stay true one softmax over all of them tells which were read. Facts of a story end
what earlier ones say: of these the state is told, with a softmax for each of its entries.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_DRAW = 20_240_418
"""Keeps the head's first weights apart from all else that is drawn with the same seed."""
_INPUT_SCALE = 10.0
"""Under Adam a head whose input is ten times as large learns ten times as fast."""
_INITIAL_STD = 0.002
"""So small that the head begins close to knowing nothing, at a loss of about ln C."""


class Told(NamedTuple):
    """Classes that a head has to tell, after each segment of each sample."""

    classes_BST: Tensor
    """Classes, of one softmax T of them, of several one of each; negative is nothing."""
    questions_B: Tensor | None = None
    """How many questions each sample has, where the loss of the answers is the mean over all of
    them; None is one."""


class FactHead(nn.Module):
    """``(state after a segment, what is told) -> loss``; it is of the training only.

    Args:
        numbers: M E, in a state.
        shape: Q and C.
        weight: factor of the loss, for whoever adds it to another.
        seed: of the training; nothing else that is drawn with it changes.
    """

    def __init__(self, numbers: int, shape: tuple[int, int], weight: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(_DRAW + seed)
        logits = shape[0] * shape[1]
        drawn = torch.empty(logits, numbers).normal_(0, _INITIAL_STD, generator=generator)
        self.weight = nn.Parameter(drawn)
        self.bias = nn.Parameter(torch.zeros(logits))
        self.shape, self.loss_weight = shape, weight

    def forward(self, state_BME: Tensor, told: Told, segment: int) -> Tensor:
        """Computes the part of one segment in the loss of an input.

        That is the mean over samples of the mean over those segments after which anything is told,
        of the mean over all that is told then of ``-log softmax``; a sample of which nothing is
        told counts as 0. Where the loss of the answers is a mean over questions, a sample counts
        here as it does there: so processes with rows of their own add up to the whole batch.

        Args:
            state_BME: the state that the segment wrote.
            told: what is so after each segment of the input.
            segment: which of them it is.
        """
        classes_BT = told.classes_BST[:, segment]
        known_BT = classes_BT >= 0
        logits = F.linear(_INPUT_SCALE * state_BME.flatten(1), self.weight, self.bias)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        found_BQC = logits.view(-1, *self.shape).log_softmax(2)
        found_BTC = found_BQC.expand(-1, classes_BT.shape[1], -1)
        found_BT = found_BTC.gather(2, classes_BT.clamp(min=0)[..., None])[..., 0]
        loss_B = -(found_BT * known_BT).sum(1) / known_BT.sum(1).clamp(min=1)
        segments_B = (told.classes_BST >= 0).any(2).sum(1)
        loss_B = loss_B / segments_B.clamp(min=1)
        if told.questions_B is None:
            return loss_B.mean()
        return (loss_B * told.questions_B).sum() / told.questions_B.sum()
