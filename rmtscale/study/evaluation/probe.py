"""Beyond the paper: where the fact stood, how much of the memory moves, where retention breaks.

Shape legend: B batch, N text columns of the input, M memory, E embedding width, F facts.

While a long input is read, the last segment, which asks, is also read from the state after 1, 2,
4, ... of the segments before it: what the model would have answered had the input ended there. So
one pass shows how long the fact was kept. That is meaningful once all facts have been read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from rmtscale.intervals import wilson_interval
from rmtscale.rmt.segmenting import cut
from rmtscale.steps import steps
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.training import share as training_share
from rmtscale.study.training.memory_tasks.reading import Reader

MOVED_SHARE = 0.5
"""A memory token has changed where a segment moved its state by more than this share of the
distance between two samples' states: by as much as tells one memory from another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Right answers among some samples."""

    label: str
    correct: int
    samples: int
    low: float
    high: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Holds what one length shows."""

    segments: int
    samples: int
    by_depth: tuple[Share, ...]
    """Shares by the segments between the fact that gives the answer and the question."""
    by_place: tuple[Share, ...]
    """Shares by the fact's place in its segment, in quarters."""
    after_segments: tuple[Share, ...]
    """Asked early: after so many segments, among the samples whose facts had all been read."""
    moved_share: dict[str, float]
    """Memory tokens whose state changed in a segment, by that segment (from 1, powers of two)."""
    broke_at: tuple[int | None, ...]
    """For each sample, the first of those moments from which on the answer was wrong; None where
    it was right at the end."""


def milestones(segments: int) -> list[int]:
    """1, 2, 4, ... and the last one before the question; 0 where there is only one segment."""
    last = segments - 1
    powers = [1 << power for power in range(last.bit_length()) if 1 << power < last]
    return [*powers, last]


@torch.no_grad()
def probe(
    reader: Reader, batches: Batches, samples: int, share: training_share.Share = training_share.ALL
) -> Probe:
    """Probes whole batches, at least ``samples`` samples; several processes read some each."""
    answerer = reader.answerer
    bounds = cut(batches.tokens, answerer.segment_tokens)
    stops = milestones(len(bounds))
    right_parts, position_parts, moved_parts = [], [], []

    def read(index: int) -> tuple[torch.Tensor, ...]:
        batch = batches.batch(index)
        right, moved = _asked_early(reader, batch.ids, batch.answers, bounds, stops)
        found = right, np.asarray(moved), batch.fact_positions
        return tuple(torch.from_numpy(each * 1).to(reader.device) for each in found)

    indices = steps(range(-(-samples // batches.batch_size)), "probing")
    for _, found in share.in_order(indices, read):
        right, moved, positions = (each.cpu().numpy() for each in found)
        right_parts.append(right > 0)
        moved_parts.append(moved)
        position_parts.append(positions)
    right_BS = np.concatenate(right_parts)
    positions_BF = np.concatenate(position_parts)
    first = bounds[0][1]
    segment_BF = np.where(
        positions_BF < first, 0, 1 + (positions_BF - first) // answerer.segment_tokens
    )
    place_B = (positions_BF[:, 0] - batches.tokens) % answerer.segment_tokens
    depth_B = len(bounds) - 1 - segment_BF[:, 0]
    quarter_B = place_B * 4 // answerer.segment_tokens
    end_B = right_BS[:, -1]
    read_B = segment_BF.max(axis=1) + 1
    moved = np.mean(moved_parts, axis=0)
    return Probe(
        segments=len(bounds),
        samples=len(end_B),
        by_depth=tuple(
            _share(_range_name(low, high), end_B[(depth_B >= low) & (depth_B <= high)])
            for low, high in _depth_ranges(len(bounds))
            if ((depth_B >= low) & (depth_B <= high)).any()
        ),
        by_place=tuple(
            _share(f"quarter {quarter + 1}", end_B[quarter_B == quarter])
            for quarter in range(4)
            if (quarter_B == quarter).any()
        ),
        after_segments=tuple(
            _share(str(stop), right_BS[read_B <= stop, column])
            for column, stop in enumerate(stops)
            if (read_B <= stop).any()
        ),
        moved_share={str(stop): float(x) for stop, x in zip(stops, moved, strict=True) if stop},
        broke_at=tuple(
            broke_at(right, read, stops)
            for right, read in zip(right_BS, read_B.tolist(), strict=True)
        ),
    )


def _asked_early(
    reader: Reader,
    ids: npt.NDArray[np.int32],
    answers: npt.NDArray[np.int64],
    bounds: list[tuple[int, int]],
    stops: list[int],
) -> tuple[npt.NDArray[np.bool_], list[float]]:
    """Right or not, (B, stops), and the share of memory tokens that changed at each stop."""
    answerer = reader.answerer
    begin, end = bounds[-1]
    last_BL = torch.from_numpy(ids[:, begin:end]).to(reader.device)
    answers_B = torch.from_numpy(answers).to(reader.device)
    state_BME, done = answerer.initial(len(ids)), 0
    right, moved = [], []
    for stop in stops:
        state_BME = reader.roll(state_BME, ids, bounds[done : max(stop - 1, done)])
        before_BME = state_BME.clone()
        state_BME = reader.roll(state_BME, ids, bounds[max(stop - 1, done) : stop])
        moved.append(_moved(before_BME.float(), state_BME.float()))
        done = stop
        with reader.autocast():
            # A copy: on a GPU the state is a buffer that the next segment overwrites.
            _, read_BTE = answerer.step(state_BME.clone(), last_BL)
            right.append(answerer.answer(read_BTE).argmax(1) == answers_B)
    return torch.stack(right, dim=1).cpu().numpy(), moved


def _moved(before_BME: torch.Tensor, after_BME: torch.Tensor) -> float:
    """Measures the share of memory tokens that changed; 0 for one sample, which tells nothing."""
    # Two independent draws are sqrt(2 * variance) apart.
    spread_M = (2 * after_BME.var(dim=0, correction=0).sum(-1)).sqrt()
    distance_BM = (after_BME - before_BME).norm(dim=-1)
    return float((distance_BM > MOVED_SHARE * spread_M).float().mean()) if len(after_BME) > 1 else 0


def broke_at(right: npt.NDArray[np.bool_], read: int, stops: Sequence[int]) -> int | None:
    """Returns the first stop from which on a sample's answer was wrong; None if the last is right.

    Args:
        right: whether the answer was right at each stop.
        read: segments after which all facts had been read; wrong answers before that do not count.
        stops: numbers of segments.
    """
    if right[-1]:
        return None
    at = stops[-1]
    for column in range(len(stops) - 1, -1, -1):
        if right[column] or stops[column] < read:
            break
        at = stops[column]
    return at


def _depth_ranges(segments: int) -> list[tuple[int, int]]:
    """0, 1, 2-3, 4-7, ... segments before the question's."""
    return [(0, 0)] + [(1 << k, (2 << k) - 1) for k in range((segments - 1).bit_length())]


def _range_name(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _share(label: str, right: npt.NDArray[np.bool_]) -> Share:
    correct, samples = int(right.sum()), len(right)
    low, high = wilson_interval(correct, samples)
    return Share(label=label, correct=correct, samples=samples, low=low, high=high)
