"""The paired-noise test: is an answer lost to the noise, or does the state drift by itself?

Beyond the paper.

Shape legend: B batch, N text columns of the input, L segment tokens, M memory, E embedding width,
X = M E.

Every story is read twice: first and last segment are the same, all the noise between them is
other noise. If noise overwrites a memory by chance, one reading of the two loses the answer, and
the two states part. If the state of a story has nowhere to stay, both go the same way and both
lose it. Distances are held against that between the states of any two stories.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rmtscale.errors import BadInput
from rmtscale.rmt.segmenting import cut
from rmtscale.steps import steps
from rmtscale.study.evaluation.probe import milestones
from rmtscale.study.tasks.batches import Batch, Batches
from rmtscale.study.training.memory_tasks.reading import Reader
from rmtscale.study.training.share import ALL, Share

SETTLED = 2
"""Segments after which a state should stay: the one with the facts, and one that may tidy up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """Describes where the states are after some segments.

    Distances are means, as shares of the mean distance between two samples of different stories.
    """

    segments: int
    right: int
    """Number of readings whose answer would be right now."""
    moved: float
    """Distance from where the state was after two segments."""
    apart: float
    """Distance between the two readings of a story."""
    nearest: float
    """Distance to the nearest state whose answer is another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedNoise:
    """Holds what reading every story twice shows."""

    stories: int
    milestones: tuple[Milestone, ...]
    both_lost: int
    """Stories whose two readings are wrong in the end."""
    one_lost: int


def pair_noise(batch: Batch, segment_tokens: int) -> Batch:
    """Turns row 2 i + 1 into row 2 i with its own noise between first and last segment."""
    ids_BN, answers_B = batch.ids.copy(), batch.answers.copy()
    end = ids_BN.shape[1] - segment_tokens
    for columns in (slice(0, segment_tokens), slice(end, None)):
        ids_BN[1::2, columns] = ids_BN[0::2, columns]
    answers_B[1::2] = answers_B[0::2]
    positions_BF = batch.fact_positions.copy()
    positions_BF[1::2] = positions_BF[0::2]
    return Batch(ids_BN, answers_B, positions_BF)


@torch.no_grad()
def paired_noise_test(
    reader: Reader, batches: Batches, stories: int, share: Share = ALL
) -> PairedNoise:
    """Reads at least ``stories`` stories twice, in whole batches; several processes some each.

    Raises:
        BadInput: facts outside of the first segment, fewer than four segments, or a batch that
            does not hold two stories twice.
    """
    answerer = reader.answerer
    segment_tokens = answerer.segment_tokens
    bounds = cut(batches.tokens, segment_tokens)
    if len(bounds) < 2 + SETTLED or batches.tokens % segment_tokens:
        raise BadInput(
            f"paired noise in {len(bounds)} segments: expected {2 + SETTLED} or more, with noise "
            "between them"
        )
    if batches.batch_size < 4 or batches.batch_size % 2:
        raise BadInput(
            f"paired noise in batches of {batches.batch_size}: expected an even number, 4 or more"
        )
    stops = [stop for stop in milestones(len(bounds)) if stop >= SETTLED]
    rights, distances = [], []

    def read(index: int) -> tuple[Tensor, ...]:
        batch = batches.batch(index)
        if (batch.fact_positions >= segment_tokens).any():
            raise BadInput(
                "paired noise with facts after the first segment: expected placement=start"
            )
        right, distance = _follow(reader, pair_noise(batch, segment_tokens), bounds, stops)
        found = torch.tensor(distance, dtype=torch.float64, device=reader.device)
        return torch.stack(right).to(torch.uint8), found

    indices = steps(range(-(-2 * stories // batches.batch_size)), "reading twice")
    for _, (right_SB, distance) in share.in_order(indices, read):
        rights.append(right_SB > 0)
        distances.append(distance.cpu().numpy())
    right_SB = torch.cat(rights, dim=1).cpu()
    means = np.mean(distances, axis=0)
    lost_P = (~right_SB[-1]).view(-1, 2).sum(1)
    return PairedNoise(
        stories=len(lost_P),
        milestones=tuple(
            Milestone(
                segments=stop, right=int(each.sum()), moved=moved, apart=apart, nearest=nearest
            )
            for stop, each, (moved, apart, nearest) in zip(
                stops, right_SB, means.tolist(), strict=True
            )
        ),
        both_lost=int((lost_P == 2).sum()),
        one_lost=int((lost_P == 1).sum()),
    )


def _follow(
    reader: Reader, batch: Batch, bounds: list[tuple[int, int]], stops: list[int]
) -> tuple[list[Tensor], list[tuple[float, float, float]]]:
    """Finds, at each stop, which answers would be right, (B,), and the three distances."""
    answerer = reader.answerer
    begin, end = bounds[-1]
    last_BL = reader.on_device(batch.ids[:, begin:end])
    answers_B = reader.on_device(batch.answers)
    state_BME, done = answerer.initial(len(batch.ids)), 0
    settled_BX: Tensor | None = None
    right, distances = [], []
    for stop in stops:
        state_BME = reader.roll(state_BME, batch.ids, bounds[done:stop])
        done = stop
        state_BX = state_BME.flatten(1).float().clone()
        if settled_BX is None:
            settled_BX = state_BX
        distances.append(state_distances(state_BX, settled_BX, answers_B))
        with reader.autocast():
            # A copy: on a GPU the state is a buffer that the next segment overwrites.
            _, read_BTE = answerer.step(state_BME.clone(), last_BL)
            right.append(answerer.answer(read_BTE).argmax(1) == answers_B)
    return right, distances


def state_distances(
    state_BX: Tensor, settled_BX: Tensor, answers_B: Tensor
) -> tuple[float, float, float]:
    """Measures moved, apart and nearest over the mean distance between different stories."""
    batch = len(state_BX)
    story_B = torch.arange(batch, device=state_BX.device) // 2
    far_BB = torch.cdist(state_BX, state_BX)
    spread = far_BB[story_B[:, None] != story_B].mean()
    moved = (state_BX - settled_BX).norm(dim=1).mean()
    apart = (state_BX[0::2] - state_BX[1::2]).norm(dim=1).mean()
    other_BB = answers_B[:, None] != answers_B
    nearest_B = far_BB.masked_fill(~other_BB, torch.inf).min(1).values
    # A batch in which all answers are the same has none that is another.
    nearest = nearest_B[nearest_B.isfinite()].mean()
    return float(moved / spread), float(apart / spread), float(nearest / spread)
