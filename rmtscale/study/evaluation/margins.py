"""Beyond the paper: margins of early answers, and how far noise moves the memory that gives them.

Shape legend: B samples, C classes, S questions asked early.

A margin tells of a loss before an answer is wrong. Where it falls, many small changes may have
added up (the memory drifts), or one segment may have written over what was kept. By the triangle
inequality two segments cannot move the memory farther than twice the largest change of any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rmtscale.study.evaluation.memory_changes import SETTLED
from rmtscale.study.records.probe import KEPT, MARGIN_QUANTILES, Held, Margins

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Followed:
    """Holds some samples at each question; squares are means over the numbers of a memory."""

    margin_BS: Floats
    state_BS: Floats
    """Squares of the numbers themselves."""
    change_BS: Floats
    """Squares of their changes over the last segment before the question."""
    largest_BS: Floats
    """The largest of any segment since the question before."""
    distance_BS: Floats
    """Squares of their distances from where they were at the question ``settled_at`` names; of no
    meaning up to that one."""


def margins_of(logits_BC: Tensor, answers_B: Tensor) -> Tensor:
    """Returns the logit of each right answer less that of the best other one, (B,)."""
    right_B1 = answers_B[:, None]
    best_B = logits_BC.scatter(1, right_B1, -float("inf")).amax(1)
    return logits_BC.gather(1, right_B1)[:, 0] - best_B


def settled_at(read_B: npt.NDArray[np.int64], stops: Sequence[int]) -> npt.NDArray[np.int64]:
    """Finds the first question that is asked four segments after the last fact or later, (B,).

    Args:
        read_B: segments after which all facts had been read.
        stops: segments after which it is asked, ascending.

    Returns:
        Indices into ``stops``; their number where there is no such question.
    """
    return np.searchsorted(np.asarray(stops), read_B + SETTLED).astype(np.int64)


def summarize(
    followed: Followed, read_B: npt.NDArray[np.int64], stops: Sequence[int]
) -> tuple[tuple[Margins, ...], Held | None]:
    """Returns margins and memory at each question that finds some facts read, and what held.

    Args:
        followed: all samples.
        read_B: segments after which all facts of a sample had been read.
        stops: segments after which it was asked, ascending.
    """
    settled_B = settled_at(read_B, stops)
    found = []
    for column, stop in enumerate(stops):
        read, settled = read_B <= stop, settled_B < column
        if read.any():
            found.append(
                Margins(
                    segments=stop,
                    samples=int(read.sum()),
                    quantiles=_quantiles(followed.margin_BS[read, column]),
                    state_rms=_root_mean(followed.state_BS[read, column]),
                    change_rms=_root_mean(followed.change_BS[read, column]),
                    settled_samples=int(settled.sum()),
                    moved_rms=_root_mean(followed.distance_BS[settled, column])
                    if settled.any()
                    else None,
                )
            )
    return tuple(found), _held(followed, settled_B)


def _held(followed: Followed, settled_B: npt.NDArray[np.int64]) -> Held | None:
    last = followed.margin_BS.shape[1] - 1
    rows_B = np.flatnonzero(settled_B < last)
    if not len(rows_B):
        return None
    then_B = followed.margin_BS[rows_B, settled_B[rows_B]]
    right = then_B > 0
    rows_B, then_B, settled_B = rows_B[right], then_B[right], settled_B[rows_B[right]]
    end_B = followed.margin_BS[rows_B, last]
    kept_B = end_B >= KEPT * then_B
    since_BS = np.arange(last + 1) > settled_B[:, None]
    largest_B = np.where(since_BS, followed.largest_BS[rows_B], 0).max(axis=1)
    # Squares: farther than twice the largest change.
    far_B = followed.distance_BS[rows_B, last] > 4 * largest_B
    return Held(
        samples=len(rows_B),
        wrong_samples=int((~right).sum()),
        settled_quantiles=_quantiles(then_B),
        end_quantiles=_quantiles(end_B),
        kept_samples=int(kept_B.sum()),
        drifted_samples=int((far_B & ~kept_B).sum()),
    )


def _quantiles(margin_B: Floats) -> tuple[float, ...]:
    if not len(margin_B):
        return ()
    return tuple(float(x) for x in np.quantile(margin_B, MARGIN_QUANTILES))


def _root_mean(square_B: Floats) -> float:
    return float(np.sqrt(square_B.mean()))
