"""A second loss, on what is written: a linear head tells from the memory which facts were read.

Shape legend: B batch, N text columns of the input, L segment tokens, M memory, E embedding width,
F facts of a sample, K facts that the task has.

The loss of an answer teaches what to write into a memory only through what reads it. As long as a
thing is not written, nothing learns to read it, and as long as nothing reads it, nothing learns to
write it. This loss needs no reader but a linear map: it is that of the memory alone.
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
"""So small that the head begins close to knowing nothing, at a loss of about ln K."""


class Told(NamedTuple):
    """The facts of each sample."""

    facts_BF: Tensor
    """Which of the task's facts each is: an index below K."""
    columns_BF: Tensor
    """First column of each; a fact lies whole in one segment. Below 0 it was read before the input,
    and N or more is a fact that is not in it."""


class FactHead(nn.Module):
    """``(state after a segment, facts) -> loss``; it is of the training only.

    Args:
        numbers: M E, in a state.
        facts: K.
        weight: factor of the loss, for whoever adds it to another.
        seed: of the training; nothing else that is drawn with it changes.
    """

    def __init__(self, numbers: int, facts: int, weight: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(_DRAW + seed)
        drawn = torch.empty(facts, numbers).normal_(0, _INITIAL_STD, generator=generator)
        self.weight = nn.Parameter(drawn)
        self.bias = nn.Parameter(torch.zeros(facts))
        self.loss_weight = weight

    def forward(
        self, state_BME: Tensor, told: Told, end: int, tokens: int, segment_tokens: int
    ) -> Tensor:
        """Computes the part of one segment in the loss of an input.

        That is the mean over samples of the mean over those segments after which at least one fact
        has been read, of the mean over the facts read until then of ``-log softmax``; a sample
        without any fact counts as 0. A mean over samples comes last, so that processes with rows of
        their own add up to the whole batch.

        Args:
            state_BME: the state that the segment wrote.
            told: the facts of the whole input.
            end: the column after the segment's last.
            tokens: N.
            segment_tokens: L; the last segment ends the input, the first may be shorter.
        """
        read_BF = told.columns_BF < end
        logits_BK = F.linear(_INPUT_SCALE * state_BME.flatten(1), self.weight, self.bias)
        logits_BK = logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
        found_BF = logits_BK.log_softmax(1).gather(1, told.facts_BF)
        loss_B = -(found_BF * read_BF).sum(1) / read_BF.sum(1).clamp(min=1)
        after_B = tokens - told.columns_BF.amin(1).clamp(0, tokens)
        segments_B = (after_B + segment_tokens - 1) // segment_tokens
        return (loss_B / segments_B.clamp(min=1)).mean()
