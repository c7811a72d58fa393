"""How much one segment changes the numbers of the memory, and the dead band that lies between.

Shape legend: R segments, B batch, M memory, E embedding width.

A fact is written by changes that are far larger than those that noise makes once the memory has
settled. A dead band between the two lets facts pass and stops the drift that adds up over thousands
of segments of noise. It is chosen from training text alone: no accuracy is looked at, and no text
that a model is evaluated on.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from rmtscale.errors import BadInput, CheckFailed
from rmtscale.rmt.segmenting import cut
from rmtscale.steps import steps
from rmtscale.study.records.widths import Changes, MemoryChanges
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.tasks.task import Task
from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint
from rmtscale.study.training.memory_tasks.data import TaskData
from rmtscale.study.training.memory_tasks.reading import Reader

SETTLED = 4
"""The memory has settled after so many segments of noise that follow a fact."""
LEAST_SEGMENTS = SETTLED + 3
"""One with facts, those in which it settles, one that is measured, and the question's."""
_SEGMENTS_A_FACT = 2
"""Segments of a sample for each fact of a story: one segment in twelve is then settled noise, and
most of those with a fact hold a single one, as they do in long inputs."""
_USUAL_SEGMENTS, _USUAL_READ = 16, 512
"""Segments of a sample whose story is short, and of all samples together."""
_LEAST_SAMPLES = 4
_MOST_BATCH = 16
RARE = 0.999
"""Quantile of the changes in settled noise that a dead band has to lie above."""
TYPICAL = 0.5
"""Quantile of the changes in a segment with a fact that it has to lie below."""
STEP = 0.05
"""A dead band is a multiple of this, because more digits would only say which samples were read."""
QUANTILES = (TYPICAL, 0.9, 0.99, RARE, 1.0)


def usual_sizes(task: Task) -> tuple[int, int]:
    """Returns the segments of a sample, twice the facts of a story or more, and the samples.

    The more segments, the fewer samples: they read as much together whatever the task.
    """
    segments = max(_USUAL_SEGMENTS, math.ceil(_SEGMENTS_A_FACT * task.mean_facts))
    return segments, max(_LEAST_SAMPLES, _USUAL_READ // segments)


def batch_size_of(samples: int) -> int:
    """Returns the rows of a batch, 16 at most, in whole batches of hardly more than ``samples``."""
    return math.ceil(samples / math.ceil(samples / _MOST_BATCH))


def training_noise(checkpoint: Checkpoint, background: str) -> TaskData:
    """Opens the checkpoint's task in training text, without the fact fragments of training."""
    settings = replace(checkpoint.settings, background=background, fact_fragments=0.0)
    return TaskData(settings, checkpoint.data.vocabulary)


@torch.no_grad()
def measure_changes(reader: Reader, batches: Batches, samples: int) -> MemoryChanges:
    """Reads at least ``samples`` samples, in whole batches, and chooses the dead band.

    The model must have none, because a dead band hides the changes that are measured.

    Raises:
        BadInput: a model with a dead band, or samples of fewer than seven segments.
        CheckFailed: no sample had so many segments of noise after a fact.
    """
    answerer = reader.answerer
    if answerer.rmt.config.dead_band:
        raise BadInput(f"dead band {answerer.rmt.config.dead_band}: expected 0 while it is chosen")
    bounds = cut(batches.tokens, answerer.segment_tokens)
    if len(bounds) < LEAST_SEGMENTS:
        raise BadInput(f"segments {len(bounds)}: expected {LEAST_SEGMENTS} or more")
    settled, fact = [], []
    for index in steps(range(math.ceil(samples / batches.batch_size)), "reading"):
        batch = batches.batch(index)
        initial_BME = answerer.initial(len(batch.ids))
        # The last segment asks the question; nothing is read after it.
        states_RBME = reader.states(initial_BME, batch.ids, bounds[:-1]).float()
        # A sink never changes, whatever was written: it would pass for settled noise.
        carried_RBME = states_RBME[:, :, answerer.rmt.config.sink_tokens :]
        changes_RBME = (carried_RBME[1:] - carried_RBME[:-1]).abs().cpu().numpy()
        settled_RB, fact_RB = kinds_of(batch.fact_positions, bounds)
        settled.append(changes_RBME[settled_RB].ravel())
        fact.append(changes_RBME[fact_RB].ravel())
    noise, written = np.concatenate(settled), np.concatenate(fact)
    if not len(noise) or not len(written):
        raise CheckFailed(
            f"no segment of settled noise in samples of {len(bounds)} segments: expected more "
            "samples or segments"
        )
    dead_band = choose(noise, written)
    return MemoryChanges(
        settled=_summary(noise, dead_band), fact=_summary(written, dead_band), dead_band=dead_band
    )


def kinds_of(
    positions_BF: npt.NDArray[np.int64], bounds: list[tuple[int, int]]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which segments but the last are settled noise, and which hold a fact, (R, B) each.

    Noise before the first fact is neither: nothing is there yet that it could change.

    Args:
        positions_BF: the first token of each fact, which lies whole in its segment.
        bounds: of all segments.
    """
    ends = np.array([end for _, end in bounds])
    fact_BF = np.searchsorted(ends, positions_BF, side="right")
    segment_R1 = np.arange(len(bounds) - 1)[:, None]
    fact_RB = (segment_R1[..., None] == fact_BF).any(axis=-1)
    # The segment of the last fact so far, -1 before the first.
    last_RB = np.maximum.accumulate(np.where(fact_RB, segment_R1, -1), axis=0)
    settled_RB = (last_RB >= 0) & (segment_R1 > last_RB + SETTLED)
    return settled_RB, fact_RB


def choose(settled: npt.NDArray[np.float32], fact: npt.NDArray[np.float32]) -> float | None:
    """Halfway, by factors, from the 99.9th percentile in settled noise to the median of a fact.

    That is their geometric mean, as a multiple of 0.05; None where no multiple lies between them.
    """
    low, high = float(np.quantile(settled, RARE)), float(np.quantile(fact, TYPICAL))
    dead_band = round(round(math.sqrt(low * high) / STEP) * STEP, 2)
    return dead_band if low < dead_band < high else None


def _summary(changes: npt.NDArray[np.float32], dead_band: float | None) -> Changes:
    return Changes(
        numbers=len(changes),
        quantiles=tuple(float(x) for x in np.quantile(changes, QUANTILES)),
        share_over=None if dead_band is None else float((changes >= dead_band).mean()),
    )
