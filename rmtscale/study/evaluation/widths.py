"""Readings of training text that a dead band is chosen from, and their records.

By changes: what one segment changes in the memory. By accuracy: right answers to the same stories
with several widths.

Shape legend: B stories, R rows: a story and a width each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import numpy as np
import torch

from rmtscale.errors import BadInput
from rmtscale.limits import MOST_SAMPLES, MOST_SEGMENTS
from rmtscale.profiler.environment import measured_environment
from rmtscale.records.nvml import Gpu
from rmtscale.rmt.peft_layers import is_merged
from rmtscale.steps import steps
from rmtscale.study.evaluation.compiling import compiles
from rmtscale.study.evaluation.memory_changes import (
    batch_size_of,
    measure_changes,
    training_noise,
    usual_sizes,
)
from rmtscale.study.records.widths import ACCURACY, CHANGES, WidthPoint, WidthRecord, WidthStore
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.training.checkpoint import source_name, weights_digest
from rmtscale.study.training.device import in_use, open_meter
from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint
from rmtscale.study.training.memory_tasks.data import TaskData
from rmtscale.study.training.memory_tasks.reading import Reader
from rmtscale.units import require_positive

PLAIN = 0.0
"""The paper's RMT, without a dead band: always among those that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSettings:
    """Holds what is read to choose by changes.

    Raises:
        BadInput: a number out of range.
    """

    segments: int | None = None
    """Segments of each sample; None: as many as the stories of the task need."""
    samples: int | None = None
    """None: those of 512 segments together."""
    background: str = "python"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples is not None:
            require_positive("samples", self.samples, MOST_SAMPLES)
        if self.segments is not None:
            require_positive("segments", self.segments, MOST_SEGMENTS)
        _require_seed(self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthSettings:
    """Holds what is read to choose by accuracy.

    Raises:
        BadInput: no width above 0, or a number out of range.
    """

    segments: tuple[int, ...]
    widths: tuple[float, ...]
    """All above 0."""
    samples: int
    batch_size: int
    """Stories side by side, each once for every width."""
    background: str = "python"
    seed: int = 0
    precision: str = "fp32"
    compile_step: bool | None = None
    """Compile the step of a full segment; None: as it was trained, where there is a GPU."""

    def __post_init__(self) -> None:
        require_positive("samples", self.samples, MOST_SAMPLES)
        require_positive("batch size", self.batch_size, MOST_SAMPLES)
        _require_seed(self.seed)
        for count in self.segments:
            require_positive("segments", count, MOST_SEGMENTS)
        if not self.widths or not all(0 < width < math.inf for width in self.widths):
            raise BadInput(
                f"widths {', '.join(f'{width:g}' for width in self.widths) or 'none'}: expected "
                "one or more above 0; none at all is compared with them anyway"
            )


def _require_seed(seed: int) -> None:
    if not 0 <= seed < 2**31:
        raise BadInput(f"seed {seed}: expected 0 to {2**31 - 1}")


def read_changes(
    checkpoint: Checkpoint,
    settings: ChangeSettings,
    store: WidthStore | None,
    *,
    device: torch.device,
) -> WidthRecord:
    """Measures, without a dead band, what noise and facts change in the memory.

    Args:
        checkpoint: what is read with; its own dead band is put aside.
        settings: segments, samples, noise.
        store: the record is appended to it, where there is one.
        device: where it runs.

    Raises:
        BadInput: another process writes to the store, or measures on the device; or samples of
            fewer than seven segments.
        CheckFailed: no sample had so many segments of noise after a fact.
    """
    checkpoint.answerer.rmt.set_dead_band(PLAIN)
    segment_tokens = checkpoint.answerer.segment_tokens
    data = training_noise(checkpoint, settings.background)
    usual_segments, usual_samples = usual_sizes(data.split_task("train"))
    segments = settings.segments or usual_segments
    samples = settings.samples or usual_samples
    batches = data.batches(
        segments * segment_tokens,
        segment_tokens,
        batch_size=batch_size_of(samples),
        seed=settings.seed,
    )
    with nullcontext() if store is None else store.writing(), in_use(device):
        reader = Reader(checkpoint.answerer, device)
        changes = measure_changes(reader, batches, samples)
        _, gpu = open_meter(device)
        point = _point(
            checkpoint,
            data,
            settings,
            by=CHANGES,
            segments=segments,
            samples=samples,
            batch_size=batches.batch_size,
            precision=reader.precision,
            device=device.type,
        )
        record = _record(point, gpu, changes=changes)
        if store is not None:
            store.append(record)
    return record


def read_widths(
    checkpoint: Checkpoint,
    settings: WidthSettings,
    store: WidthStore,
    *,
    device: torch.device,
    observe: Callable[[WidthRecord, bool], None] | None = None,
) -> list[WidthRecord]:
    """Reads, at every length, with all widths and without one, what is not in the store yet.

    Stories and noise are the training's, so that nothing is chosen on what an evaluation reads.

    Args:
        checkpoint: what is read with.
        settings: lengths, widths, stories.
        store: records are appended to it, one for each length and width.
        device: where it runs.
        observe: is told of each record, and whether it was there before.

    Raises:
        BadInput: another process writes to the store, or measures on the device; or a CPU is to
            compile.
    """
    compiled = compiles(checkpoint, settings.compile_step, device)
    checkpoint.answerer.rmt.set_dead_band(PLAIN)
    widths = (PLAIN, *sorted(set(settings.widths)))
    batch_size = min(settings.batch_size, settings.samples)
    data = training_noise(checkpoint, settings.background)
    with store.writing(), in_use(device):
        _, gpu = open_meter(device)
        reader = Reader(checkpoint.answerer, device, settings.precision, compile_step=compiled)
        segment_tokens = reader.answerer.segment_tokens
        read = _point(
            checkpoint,
            data,
            settings,
            by=ACCURACY,
            segments=0,
            samples=settings.samples,
            batch_size=batch_size,
            precision=settings.precision,
            device=device.type,
            compile_step=compiled,
        )
        known = store.read().latest()
        found = []
        for segments in steps(sorted(set(settings.segments)), "reading", weigh=float):
            points = {width: replace(read, segments=segments, dead_band=width) for width in widths}
            new = [width for width, point in points.items() if point.key not in known]
            if new:
                tokens = segments * segment_tokens
                batches = data.batches(
                    tokens, segment_tokens, batch_size=batch_size, seed=settings.seed
                )
                start = perf_counter()
                right = right_by_width(reader, batches, settings.samples, new)
                seconds = perf_counter() - start
            for width, point in points.items():
                record = known.get(point.key) or _record(
                    point, gpu, right=right[width], seconds=seconds
                )
                if width in new:
                    store.append(record)
                if observe is not None:
                    observe(record, width not in new)
                found.append(record)
        return found


def _point(
    checkpoint: Checkpoint,
    data: TaskData,
    settings: ChangeSettings | WidthSettings,
    **read: Any,
) -> WidthPoint:
    """Names what is read: what both ways note of a checkpoint and its text, and what one has."""
    return WidthPoint(
        task=checkpoint.settings.task,
        task_options=dict(data.settings.task_options),
        weights=weights_digest(checkpoint.folder),
        background=source_name(settings.background),
        segment_tokens=checkpoint.answerer.segment_tokens,
        seed=settings.seed,
        merged_lora=is_merged(checkpoint.answerer.rmt),
        **read,
    )


def _record(point: WidthPoint, gpu: Gpu | None, **found: Any) -> WidthRecord:
    return WidthRecord(
        read_at=datetime.now(UTC).isoformat(timespec="seconds"),
        point=point,
        environment=measured_environment(gpu),
        **found,
    )


def right_by_width(
    reader: Reader, batches: Batches, samples: int, widths: Sequence[float]
) -> dict[float, str]:
    """Finds which answers are right with each width, a 1 or a 0 for each story.

    All widths are read side by side, as rows of one batch: the text is made once, and the step of a
    segment captured and compiled once.
    """
    stories, count = batches.batch_size, len(widths)
    found: list[np.ndarray] = []
    with reader.answerer.rmt.dead_band_of_rows([*widths] * stories):
        for index in steps(range(math.ceil(samples / stories)), "reading"):
            batch = batches.batch(index)
            chosen_R = reader.logits(np.repeat(batch.ids, count, axis=0)).argmax(1).cpu().numpy()
            found.append(chosen_R.reshape(stories, count) == batch.answers[:, None])
    right = np.concatenate(found)[:samples]
    return {
        width: "".join("01"[each] for each in column.tolist())
        for width, column in zip(widths, right.T, strict=True)
    }
