"""One step of a point as several processes share it, and the same step of one process alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.distributed.tensor import DTensor

from rmtscale.profiler.subject import Subject


class Differentiated(NamedTuple):
    """What a step finds."""

    loss: float
    gradients: dict[str, torch.Tensor]
    """Whole ones by name, DDP's prefix taken off."""


def differentiate(subject: Subject) -> Differentiated:
    """Runs a step but for the optimizer; of a rank's loss its own part of the mean."""
    with subject.reading() as given:
        output = subject.model(given.pop("input_ids"), use_cache=False, **given)
        output.loss.backward()
        loss = float(output.loss)
    found = {}
    for name, weight in subject.model.named_parameters():
        whole: Any = weight.grad
        if isinstance(whole, DTensor):
            whole = whole.full_tensor()
        found[name.removeprefix("module.")] = whole.clone()
    subject.model.zero_grad(set_to_none=True)
    return Differentiated(loss, found)
