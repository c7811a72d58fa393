"""Where a state should stay, and how it is pushed away from there.

Shape legend: B batch, R rolled-in segments, M memory, E embedding width, K nearest others.

A state that has read its facts should be the same after any amount of other text. What it becomes
is let go slowly: over hundreds of segments stories that are told apart at first come together,
while their answers are right by far and their loss is next to nothing. So the distance to where a
state was is a loss of its own; and a state that is pushed towards others and has to come back
learns to come back from what the text does to it as well.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SETTLING_SEGMENTS = 1
"""After the last fact: the next segment changes a state by a quarter, those after it by little."""
_NEAREST = 4


def settled_at(told_B: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Segments after which a sample's state should stay as it is, (B,).

    Args:
        told_B: the segment that the last fact is in.
    """
    return told_B + 1 + SETTLING_SEGMENTS


def push(state_BME: Tensor, share_B: Tensor) -> Tensor:
    """Each state so far on the way to one of those nearest to it, (B, M, E).

    The nearest are what it is mistaken for; towards all others it is far from any boundary.

    Args:
        state_BME: two or more, else there is no way to go.
        share_B: of the way; 0 leaves a state where it is.
    """
    batch = len(state_BME)
    if batch < 2:
        return state_BME
    flat_BX = state_BME.flatten(1).float()
    distance_BB = torch.cdist(flat_BX, flat_BX)
    distance_BB.fill_diagonal_(torch.inf)
    nearest_BK = distance_BB.topk(min(_NEAREST, batch - 1), largest=False).indices
    chosen_B1 = torch.randint(nearest_BK.shape[1], (batch, 1), device=state_BME.device)
    other_BME = state_BME[nearest_BK.gather(1, chosen_B1)[:, 0]]
    return torch.lerp(state_BME, other_BME, share_B.to(state_BME.dtype)[:, None, None])
