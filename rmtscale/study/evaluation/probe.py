"""Beyond the paper: where the fact stood, how much of the memory moves, where retention breaks.

Shape legend: B batch, N text columns of the input, L segment tokens, R segments, M memory,
E embedding width, F facts, S questions asked early.

While a long input is read, the last segment, which asks, is also read from the state after 1, 2,
4, ... of the segments before it: what the model would have answered had the input ended there. So
one pass shows how long the fact was kept. That is meaningful once all facts have been read. The
last of these questions is that of the input itself, so an evaluation reads its inputs once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rmtscale.intervals import wilson_interval
from rmtscale.rmt.segmenting import cut
from rmtscale.steps import steps
from rmtscale.study.evaluation.margins import Followed, margins_of, settled_at, summarize
from rmtscale.study.records.probe import Probe, Share
from rmtscale.study.tasks.batches import Batch, Batches
from rmtscale.study.training import share as training_share
from rmtscale.study.training.memory_tasks.reading import Reader

MOVED_SHARE = 0.5
"""A memory token has changed where a segment moved its state by more than this share of the
distance between two samples' states: by as much as tells one memory from another."""
CHUNK_SEGMENTS = 16
"""States that are kept at once."""


def milestones(segments: int) -> list[int]:
    """1, 2, 4, ... and the last one before the question; 0 where there is only one segment."""
    last = segments - 1
    powers = [1 << power for power in range(last.bit_length()) if 1 << power < last]
    return [*powers, last]


def probe(
    reader: Reader, batches: Batches, samples: int, share: training_share.Share = training_share.ALL
) -> Probe:
    """Probes whole batches, at least ``samples`` samples; several processes read some each."""
    early = EarlyAnswers(reader, batches)

    def read(index: int) -> tuple[Tensor, ...]:
        return early.ask(batches.batch(index))

    indices = steps(range(-(-samples // batches.batch_size)), "probing")
    for _, found in share.in_order(indices, read):
        early.take(found)
    return early.probe()


class EarlyAnswers:
    """Asks after 1, 2, 4, ... segments of inputs of one length, and puts together what was found.

    Args:
        reader: reads them.
        batches: of the length.
    """

    def __init__(self, reader: Reader, batches: Batches) -> None:
        self._reader, self._tokens = reader, batches.tokens
        self._segment_tokens = reader.answerer.segment_tokens
        self._bounds = cut(batches.tokens, self._segment_tokens)
        self._stops = milestones(len(self._bounds))
        self._parts: list[tuple[npt.NDArray[np.float64], ...]] = []

    @torch.no_grad()
    def ask(self, batch: Batch) -> tuple[Tensor, ...]:
        """Reads a batch: right or not at each question, (B, S), the last the input's own; the
        others are for ``take``, of the same shapes for each batch."""
        segment_BF = _segment_of(batch.fact_positions, self._bounds, self._segment_tokens)
        found = _asked_early(
            self._reader, batch, self._bounds, self._stops, segment_BF.max(axis=1) + 1
        )
        positions = torch.from_numpy(batch.fact_positions).to(self._reader.device)
        return (*(each.double() for each in found), positions)

    def take(self, found: Sequence[Tensor]) -> None:
        """Adds what ``ask`` returned of a batch, here or in another process."""
        self._parts.append(tuple(each.cpu().numpy() for each in found))

    def probe(self) -> Probe:
        """Returns what all batches tell."""
        bounds, stops = self._bounds, self._stops
        right, moved, *measured, positions = zip(*self._parts, strict=True)
        right_BS = np.concatenate(right) > 0
        positions_BF = np.concatenate(positions).astype(np.int64)
        segment_BF = _segment_of(positions_BF, bounds, self._segment_tokens)
        place_B = (positions_BF[:, 0] - self._tokens) % self._segment_tokens
        depth_B = len(bounds) - 1 - segment_BF[:, 0]
        quarter_B = place_B * 4 // self._segment_tokens
        end_B = right_BS[:, -1]
        read_B = segment_BF.max(axis=1) + 1
        followed = Followed(*(np.concatenate(each) for each in measured))
        margins, held = summarize(followed, read_B, stops)
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
            moved_share={
                str(stop): float(x)
                for stop, x in zip(stops, np.mean(moved, axis=0), strict=True)
                if stop
            },
            broke_at=tuple(
                broke_at(right, read, stops)
                for right, read in zip(right_BS, read_B.tolist(), strict=True)
            ),
            margins=margins,
            held=held,
        )


def _segment_of(
    positions_BF: npt.NDArray[np.int64], bounds: list[tuple[int, int]], segment_tokens: int
) -> npt.NDArray[np.int64]:
    """Finds the segment of each fact."""
    first = bounds[0][1]
    return np.where(positions_BF < first, 0, 1 + (positions_BF - first) // segment_tokens)


def _asked_early(
    reader: Reader,
    batch: Batch,
    bounds: list[tuple[int, int]],
    stops: list[int],
    read_B: npt.NDArray[np.int64],
) -> tuple[Tensor, ...]:
    """Reads one batch.

    Returns:
        Right or not, (B, S), the share of memory tokens that changed, (S,), and the fields of
        ``Followed``, (B, S) each.
    """
    answerer = reader.answerer
    begin, end = bounds[-1]
    last_BL = reader.on_device(batch.ids[:, begin:end])
    answers_B = reader.on_device(batch.answers)
    sinks = answerer.rmt.config.sink_tokens
    state_BME = answerer.initial(len(batch.ids))
    carried, right, moved, margin, change, largest = [], [], [], [], [], []
    pairs = zip([0, *stops], stops, strict=False)
    for done, stop in steps(pairs, weigh=lambda pair: 1 + pair[1] - pair[0]):
        before_BME, state_BME, changes_RB = _roll(reader, state_BME, batch.ids, bounds[done:stop])
        # A sink never changes, whatever was written.
        carried.append(state_BME[:, sinks:].float())
        moved.append(_moved(before_BME[:, sinks:].float(), carried[-1]))
        change.append(changes_RB[-1])
        largest.append(changes_RB.amax(0))
        with reader.autocast():
            _, read_BTE = answerer.step(state_BME, last_BL)
            logits_BC = answerer.answer(read_BTE)
        right.append(logits_BC.argmax(1) == answers_B)
        margin.append(margins_of(logits_BC, answers_B))
    carried_SBME = torch.stack(carried)
    settled_B = reader.on_device(settled_at(read_B, stops).clip(max=len(stops) - 1))
    rows_B = torch.arange(len(batch.ids), device=settled_B.device)
    distance_SB = _mean_square(carried_SBME - carried_SBME[settled_B, rows_B])
    state_SB = _mean_square(carried_SBME)
    by_question = (right, margin, state_SB.unbind(), change, largest, distance_SB.unbind())
    right_BS, *followed = (torch.stack([*each], dim=1) for each in by_question)
    return right_BS, torch.tensor(moved, device=reader.device), *followed


def _roll(
    reader: Reader, state_BME: Tensor, ids: npt.NDArray[np.int32], bounds: list[tuple[int, int]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the state before the last of some segments and after it, and the mean squares of the
    changes that each of them made, (R, B); without segments one change, of 0."""
    before_BME, changes = state_BME, [state_BME.new_zeros((1, len(ids)))]
    sinks = reader.answerer.rmt.config.sink_tokens
    chunks = range(0, len(bounds), CHUNK_SEGMENTS)
    for first in steps(chunks, total=len(chunks)):
        states_RBME = reader.states(state_BME, ids, bounds[first : first + CHUNK_SEGMENTS])
        carried_RBME = states_RBME[:, :, sinks:].float()
        changes.append(_mean_square(carried_RBME[1:] - carried_RBME[:-1]))
        before_BME, state_BME = states_RBME[-2], states_RBME[-1]
    return before_BME, state_BME, torch.cat(changes)


def _mean_square(numbers: Tensor) -> Tensor:
    """Averages the squares of a memory's numbers, the last two axes."""
    return numbers.square().mean(dim=(-2, -1))


def _moved(before_BME: Tensor, after_BME: Tensor) -> float:
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
