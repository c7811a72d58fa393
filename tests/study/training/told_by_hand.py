"""What a head that tells from the memory loses, computed one number after another."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from rmtscale.rmt.segmenting import cut
from rmtscale.study.training.memory_tasks.model import Answerer


def told_by_hand(
    answerer: Answerer,
    ids: list[int],
    known: Callable[[int], list[tuple[int, int]]],
    state_1ME: torch.Tensor | None = None,
) -> float:
    """Of one sample; ``known(end)`` lists the softmaxes and the classes that they have to tell
    after the segment that ends there."""
    head: Any = answerer.fact_head
    weight, bias = head.weight.double().tolist(), head.bias.double().tolist()
    _, classes = head.shape
    state_1ME = answerer.initial(1) if state_1ME is None else state_1ME
    losses = []
    for begin, end in cut(len(ids), answerer.segment_tokens):
        state_1ME, _ = answerer.step(state_1ME, torch.tensor([ids[begin:end]]))
        numbers, own = [10 * x for x in state_1ME.flatten().tolist()], []
        for softmax, wanted in known(end):
            logits = [
                math.fsum(x * w for x, w in zip(numbers, weight[at], strict=True)) + bias[at]
                for at in range(softmax * classes, (softmax + 1) * classes)
            ]
            own.append(math.log(math.fsum(map(math.exp, logits))) - logits[wanted])
        if own:
            losses.append(math.fsum(own) / len(own))
    return math.fsum(losses) / len(losses) if losses else 0.0
