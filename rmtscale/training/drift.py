"""Where a state should stay, and how it is pushed away from there.

Shape legend: B batch, M memory, E embedding width, X = M E, K nearest others.

A state that has read its facts should be the same after any amount of other text. In a model of
reasoning that was looked at, those of different stories came together over hundreds of segments,
while most answers were still right by far and so cost next to nothing. Hence two aids, which no
recipe uses: the distance to where a state was as a loss of its own, and a push, after which a state
has to come back (both tried, with no gain that is clear: reports/figure-5/tried).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SETTLING_SEGMENTS = 1
"""After the last fact: the next segment still changes a state more than those after it do."""
_NEAREST = 4


def settled_at(told_B: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Segments after which a sample's state should stay as it is, (B,).

    Args:
        told_B: the segment that the last fact is in.
    """
    return told_B + 1 + SETTLING_SEGMENTS


def push(state_BME: Tensor, share_B: Tensor) -> Tensor:
    """Each state so far on the way to one of those nearest to it, (B, M, E).

    The nearest, because those are what it may come to be mistaken for.

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
