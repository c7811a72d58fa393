"""Right answers with several widths of a dead band, to the same stories of training text.

Shape legend: B stories, R rows: a story and a width each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

import numpy as np
import torch

from rmtscale.errors import BadInput
from rmtscale.limits import MOST_SAMPLES, MOST_SEGMENTS
from rmtscale.profiler.environment import measured_environment
from rmtscale.steps import steps
from rmtscale.study.evaluation.evaluate import compiles
from rmtscale.study.evaluation.memory_changes import training_noise
from rmtscale.study.records.widths import ACCURACY, WidthPoint, WidthRecord, WidthStore
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.training.checkpoint import source_name, weights_digest
from rmtscale.study.training.device import in_use, open_meter
from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint
from rmtscale.study.training.memory_tasks.reading import Reader
from rmtscale.units import require_positive

PLAIN = 0.0
"""The paper's RMT, without a dead band: always among those that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthSettings:
    """Holds what is read.

    Raises:
        BadInput: no width above 0, or a number out of range.
    """

    segments: tuple[int, ...]
    widths: tuple[float, ...]
    """All above 0."""
    samples: int = 400
    batch_size: int = 100
    """Stories side by side, each once for every width."""
    background: str = "python"
    seed: int = 0
    precision: str = "fp32"
    compile_step: bool | None = None
    """Compile the step of a full segment; None: as it was trained, where there is a GPU."""

    def __post_init__(self) -> None:
        require_positive("samples", self.samples, MOST_SAMPLES)
        require_positive("batch size", self.batch_size, MOST_SAMPLES)
        if not 0 <= self.seed < 2**31:
            raise BadInput(f"seed {self.seed}: expected 0 to {2**31 - 1}")
        for count in self.segments:
            require_positive("segments", count, MOST_SEGMENTS)
        if not self.widths or not all(0 < width < math.inf for width in self.widths):
            raise BadInput(
                f"widths {', '.join(f'{width:g}' for width in self.widths) or 'none'}: expected "
                "one or more above 0; none at all is compared with them anyway"
            )


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
    checkpoint.answerer.rmt.set_dead_band(0)
    widths = (PLAIN, *sorted(set(settings.widths)))
    batch_size = min(settings.batch_size, settings.samples)
    data = training_noise(checkpoint, settings.background)
    with store.writing(), in_use(device):
        _, gpu = open_meter(device)
        reader = Reader(checkpoint.answerer, device, settings.precision, compile_step=compiled)
        segment_tokens = reader.answerer.segment_tokens
        weights = weights_digest(checkpoint.folder)
        known = store.read().latest()
        found = []
        for segments in steps(sorted(set(settings.segments)), "reading", weigh=float):
            points = {
                width: WidthPoint(
                    by=ACCURACY,
                    task=checkpoint.settings.task,
                    task_options=dict(data.settings.task_options),
                    weights=weights,
                    background=source_name(settings.background),
                    segments=segments,
                    segment_tokens=segment_tokens,
                    samples=settings.samples,
                    batch_size=batch_size,
                    seed=settings.seed,
                    precision=settings.precision,
                    device=device.type,
                    dead_band=width,
                    compile_step=compiled,
                )
                for width in widths
            }
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
                record = known.get(point.key) or WidthRecord(
                    read_at=datetime.now(UTC).isoformat(timespec="seconds"),
                    point=point,
                    right=right[width],
                    seconds=seconds,
                    environment=measured_environment(gpu),
                )
                if width in new:
                    store.append(record)
                if observe is not None:
                    observe(record, width not in new)
                found.append(record)
        return found


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
