"""Finds where a burn-in loses its answers, so that the gradient can begin there.

Shape legend: B batch, R segments of the burn-in, P some of them, N text columns of the input,
L segment tokens, M memory, E embedding width, Q tokens of the question.

What is lost in thousands of segments is lost in one of them, and the last few are rarely that one.
After a burn-in the states on the way are asked the question; a sample whose answer is gone begins
again with the segment that lost it, and one that has kept it goes on where the burn-in ended.

Asked alone every state costs little, but the question stands nowhere so in training, and a state
that knows the answer may not give it. Asked at the end of the input's last segment it is asked as
in training, and as that is dear the segment is found by bisection.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.rolling import Roller

ROWS_AT_ONCE = 4096
"""Rows that are asked together. A burn-in of 1,024 segments leaves 32,768 states of a batch of 32:
asked all at once, they would take as much memory as the gradient does."""


def right_answers(
    answerer: Answerer, roller: Roller, states_RBME: Tensor, question_BQ: Tensor, answers_B: Tensor
) -> Tensor:
    """Asks each state with nothing in between: does it give the answer, (R, B)?"""
    batch = states_RBME.shape[1]
    found = []
    with torch.no_grad(), roller.autocast():
        for piece_PBME in torch.split(states_RBME, max(1, ROWS_AT_ONCE // batch)):
            count = len(piece_PBME)
            _, read = answerer.step(piece_PBME.flatten(0, 1), question_BQ.repeat(count, 1))
            found.append(answerer.answer(read).argmax(1).view(count, batch) == answers_B)
    return torch.cat(found)


def first_segments(right_RB: Tensor, read_B: Tensor) -> Tensor:
    """Finds the segment that each sample begins with, (B,): the one that lost its answer, or the
    one after the burn-in.

    Args:
        right_RB: after each segment of the burn-in, whether the state gives the answer.
        read_B: the segment that the answer's fact is in; nothing is lost before it.
    """
    count = right_RB.shape[0]
    after_RB = torch.arange(count, device=right_RB.device)[:, None] >= read_B
    lost_RB = after_RB & ~right_RB
    first_B = lost_RB.int().argmax(0)  # the first of equal ones
    return torch.where(lost_RB.any(0), first_B, count)


def bisected_segments(
    answerer: Answerer,
    roller: Roller,
    states_RBME: Tensor,
    last_BL: Tensor,
    answers_B: Tensor,
    read_B: Tensor,
) -> Tensor:
    """Finds the segment that each sample begins with, (B,): one that lost its answer, or the one
    after the burn-in where the answer is there at its end.

    Each state is asked by reading the input's last segment after it. Of several segments that lost
    an answer which came back in between, any may be found. Reads 1 + log2(R) segments, rounded up.

    Args:
        answerer: that reads.
        roller: of the same model; captures its segments where there is CUDA.
        states_RBME: after each segment of the burn-in.
        last_BL: the last segment of the input, which ends with the question.
        answers_B: the right classes.
        read_B: the segment that the answer's fact is in; nothing is lost before it.
    """
    count, batch = states_RBME.shape[:2]
    rows_B = torch.arange(batch, device=states_RBME.device)

    def knows(segment_B: Tensor) -> Tensor:
        with torch.no_grad(), roller.autocast():
            _, read = roller.advance(states_RBME[segment_B, rows_B], last_BL)
            return answerer.answer(read).argmax(1) == answers_B

    # Before its fact nothing is lost, at the end it is: what is between grows narrow.
    kept_B, lost_B = read_B - 1, torch.full_like(read_B, count - 1)
    is_lost_B = (read_B < count) & ~knows(lost_B)
    for _ in range((count - 1).bit_length()):
        middle_B = (kept_B + lost_B) // 2
        known_B = knows(middle_B.clamp(0, count - 1))
        wide_B = lost_B - kept_B > 1
        kept_B = torch.where(wide_B & known_B, middle_B, kept_B)
        lost_B = torch.where(wide_B & ~known_B, middle_B, lost_B)
    return torch.where(is_lost_B, lost_B, count)


def cut_out(
    ids_BN: npt.NDArray[Any], first_B: npt.NDArray[Any], segments: int, segment_tokens: int
) -> npt.NDArray[Any]:
    """So many segments of each sample from its first one on; the last is the input's own last,
    which asks the question."""
    length = (segments - 1) * segment_tokens
    last = ids_BN[:, ids_BN.shape[1] - segment_tokens :]
    columns = first_B[:, None] * segment_tokens + np.arange(length)
    return np.concatenate([np.take_along_axis(ids_BN, columns, axis=1), last], axis=1)
