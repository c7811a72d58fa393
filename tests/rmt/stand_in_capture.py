"""A capture without a GPU: the work is run again into the buffers of its first run.

It shares what is hard about a graph: inputs are copied into buffers, results are overwritten by the
next run, and so are gradients that were handed out.
"""

from __future__ import annotations

from typing import Any

import torch

from rmtscale.rmt.base import RMTPreTrainedModel
from rmtscale.rmt.capture import Function, Inputs, copy_into, own_copies
from rmtscale.rmt.captured_training import CapturedTraining


class Rerun:
    """One work."""

    def __init__(self, function: Function, inputs: Inputs) -> None:
        self._function, self._inputs = function, own_copies(inputs)
        self._results = function(*self._inputs)

    def replay(self, inputs: Inputs) -> Any:
        copy_into(self._inputs, inputs)
        _overwrite(self._results, self._function(*self._inputs))
        return self._results


class StandInCapture:
    """Makes them, and counts."""

    def __init__(self, fails: bool = False) -> None:
        self.made, self.tried, self._fails = 0, 0, fails

    def refusal(self, device: torch.device) -> str | None:
        del device
        return None

    def __call__(self, function: Function, inputs: Inputs) -> Rerun:
        self.tried += 1
        if self._fails:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        self.made += 1
        return Rerun(function, inputs)


def _overwrite(old: Any, new: Any) -> None:
    if isinstance(old, torch.Tensor):
        old.copy_(new)
    elif old is not None:
        for one, other in zip(old, new, strict=True):
            _overwrite(one, other)


def capture_by_rerun(model: RMTPreTrainedModel, lengths: int = 8) -> StandInCapture:
    """Switches the captured training of a model on, without a GPU."""
    capture = StandInCapture()
    model.captured_training = CapturedTraining(capture, lengths)
    return capture
