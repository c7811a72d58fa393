"""The host's time of a step: it starts every operator that is not in a captured graph.

What an operator costs depends on Python and on the framework, not on its size: so many
microseconds forward, more where autograd finds its own way back, and for each tensor of weights
what the optimizer and the release of its gradient take. The same host was seen at half its speed
within minutes: what is predicted of a step that is bound by it is an interval.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rmtscale.costs.time.constants import (
    BACKWARD_OPERATOR,
    FORWARD_OPERATOR,
    TENSOR,
    TimeConstants,
)
from rmtscale.costs.time.step_kernels import BACKWARD, FORWARD, OPTIMIZER, Part

LOOKED_UP = 0.75
"""Operators that could be started while the host makes sure, for each tensor of the weights, that a
captured training step is still the one that it captured: 3.3 ms for GPT-2's 149 on a host whose
operators take 30 us."""


class Started(NamedTuple):
    """Counts what the host starts, one by one."""

    forward: int
    backward: int
    tensors: int
    """Trained tensors, that an optimizer steps on."""

    def seconds(self, constants: TimeConstants) -> float:
        """Returns the host's time."""
        return (
            self.forward * constants[FORWARD_OPERATOR]
            + self.backward * constants[BACKWARD_OPERATOR]
            + self.tensors * constants[TENSOR]
        )


def started(parts: Iterable[Part], tensors: int, *, one_by_one: bool = False) -> Started:
    """Counts the operators of a step; kernels of a captured graph are none.

    Args:
        tensors: that the optimizer steps on.
        one_by_one: it starts each of its kernels itself, and steps on no lists of tensors.
    """
    forward = backward = 0
    for part in parts:
        if part.captured:
            continue
        if part.phase == FORWARD or (part.phase == OPTIMIZER and one_by_one):
            forward += part.times * part.kernels.launched
        elif part.phase == BACKWARD:
            backward += part.times * part.kernels.launched
    return Started(forward, backward, tensors)
