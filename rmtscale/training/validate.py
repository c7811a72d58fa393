"""Accuracy of a model on text it was not trained on, in the middle of a training.

Shape legend: B batch, N text columns of the input, M memory, E embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from rmtscale.rmt.segmenting import cut
from rmtscale.training.answerer import Answerer

Batches = Callable[[int], tuple[Any, Any]]
"""Batch ``i`` as numpy arrays: ids (B, N) and answers (B,)."""


@torch.no_grad()
def read_out(answerer: Answerer, ids_BN: torch.Tensor) -> torch.Tensor:
    """Logits of the classes, (B, C); memory does not depend on the length."""
    bounds = cut(ids_BN.shape[1], answerer.segment_tokens)
    state_BME = answerer.roll(answerer.initial(ids_BN.shape[0]), ids_BN, bounds[:-1])
    begin, end = bounds[-1]
    _, read_BTE = answerer.step(state_BME, ids_BN[:, begin:end])
    return answerer.answer(read_BTE)


@torch.no_grad()
def accuracy(
    answerer: Answerer, batches: Batches, samples: int, batch_size: int, device: torch.device
) -> float:
    """Share of right answers over whole batches, at least ``samples``; one wait for the device."""
    count = math.ceil(samples / batch_size)
    right = torch.zeros((), dtype=torch.long, device=device)
    for index in range(count):
        ids, answers = batches(index)
        logits_BC = read_out(answerer, torch.from_numpy(ids).to(device))
        right += (logits_BC.argmax(1) == torch.from_numpy(answers).to(device)).sum()
    return int(right) / (count * batch_size)
