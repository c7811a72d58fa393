"""Metrics of a training: one JSON line per interval, read back to go on, to plan and to report."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path

from rmtscale.errors import BadInput
from rmtscale.limits import MOST_TOKEN_ID
from rmtscale.records.mapping import to_mapping
from rmtscale.records.store import Store
from rmtscale.study.records.old_names import FIELDS
from rmtscale.study.training.layout import METRICS
from rmtscale.tabular import flat_row

SCHEMA_VERSION = 1
_MEASURED_INTERVALS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Describes the steps since the line before."""

    schema_version: int = SCHEMA_VERSION
    step: int
    """Steps done at its end."""
    stage: int
    stage_name: str
    loss: float
    """Mean loss of the steps, that of the task."""
    repeated_loss: float | None = None
    """Mean loss of the steps whose text repeats; None where there were none."""
    ordinary_loss: float | None = None
    """Mean loss of the other steps, where some repeat; None otherwise."""
    told_loss: float | None = None
    """Mean of the second loss (``told_weight``) over the steps that had one, without its weight and
    not in ``loss``; None where none had."""
    accuracy: float | None
    """Accuracy over all batches; None where nothing is answered."""
    current_stage_accuracy: float | None
    """Accuracy over the batches of the current stage; None where there were none."""
    learning_rate: float
    """Learning rate of the last step."""
    tokens: int
    """Text tokens read on all devices, those of the burn-in with them."""
    flops: int | None = None
    """FLOPs of all steps, by the estimator (``matmul``); None where it was not asked."""
    seconds: float
    tokens_per_second: float
    """Throughput in text tokens."""
    waiting_share: float
    """Share of the time in which the step waited for its data."""
    gpu_utilization: float | None = None
    """Share of the time in which a kernel of this process ran; None where it is not measured."""
    processes: int = 1
    """Processes that shared the work; they change nothing but the time."""
    layout: str | None = None
    """How they shared it, such as ``dp2`` or ``tp2-dp2-zero3-states-wholevocab``; None: an older
    line."""
    end_step: int | None = None
    """Step with which the training ends, in a last stage that has steps of its own; None otherwise,
    and before that stage, when nobody knows."""
    peak_allocated_bytes: int | None = None
    """Peak that torch allocated on the GPU, since the training was started or went on."""
    validation: dict[str, float] | None = None
    """Accuracy (language: loss in nats per token) of the EMA weights by number of segments,
    where they were validated."""

    @property
    def key(self) -> str:
        """The step it ends with."""
        return str(self.step)

    def to_row(self) -> dict[str, object]:
        """Returns all fields, nested ones under ``outer.inner``."""
        return flat_row(to_mapping(self))

    def to_line(self) -> str:
        """Returns one line of JSON, without its end; a loss that is no number stays one."""
        return json.dumps(to_mapping(self), separators=(",", ":"))

    def outcome(self) -> tuple[object, ...]:
        """Collects what does not depend on the clock: it is the same after a kill as without."""
        return (
            self.step,
            self.stage,
            self.loss,
            self.repeated_loss,
            self.ordinary_loss,
            self.told_loss,
            self.accuracy,
            self.current_stage_accuracy,
            self.learning_rate,
            self.tokens,
            self.flops,
            self.validation,
        )


class MetricsStore(Store[Interval]):
    """One file of intervals."""

    kind, version, what = Interval, SCHEMA_VERSION, "metrics"
    old_names = FIELDS


def read_metrics(path: Path, until_step: int | None = None) -> list[Interval]:
    """Returns the intervals of a file, none after ``until_step``; a torn last line is left out.

    Raises:
        BadInput: a line of another version, one that is no interval before the last, or steps that
            do not rise, as two trainings in one folder leave them.
    """
    reading = MetricsStore(path).read()
    if reading.damaged_lines:
        line = reading.damaged_lines[0]
        raise BadInput(f"metrics {str(path)!r}, line {line}: {reading.first_damage}")
    for before, after in itertools.pairwise(reading.records):
        if after.step <= before.step:
            raise BadInput(
                f"metrics {str(path)!r}: step {after.step} after step {before.step}, expected "
                "steps that rise"
            )
    return [
        interval
        for interval in reading.records
        if until_step is None or interval.step <= until_step
    ]


def keep_until(path: Path, step: int) -> None:
    """Drops the intervals after ``step``: they will be run, and written, again."""
    if path.is_file():
        MetricsStore(path).rewrite(read_metrics(path, step))


def has_speed(folder: Path) -> bool:
    """Whether the training in a folder has run for two intervals or more."""
    return len(read_metrics(folder / METRICS)) > 1


def steps_within(folder: Path, seconds: float, log_every: int) -> int:
    """Computes the steps of a training that is to be done in ``seconds`` from now.

    They follow from the median throughput of its last intervals: whole intervals, one at least.

    Raises:
        BadInput: the training has not run yet.
    """
    if not 0 <= seconds < math.inf:
        raise BadInput(f"finish within {seconds!r}: expected seconds, 0 or more")
    intervals = read_metrics(folder / METRICS)
    if len(intervals) < 2:
        raise BadInput(
            f"finish within {seconds:g} s: the training in {str(folder)!r} has no throughput yet, "
            "expected one that has run for some intervals"
        )
    done = intervals[-1].step
    pairs = list(itertools.pairwise(intervals))[-_MEASURED_INTERVALS:]
    step_seconds = sorted(after.seconds / (after.step - before.step) for before, after in pairs)
    each = step_seconds[len(step_seconds) // 2]
    if not each > 0:
        raise BadInput(f"metrics of {str(folder)!r}: steps of no time, expected seconds above 0")
    left = max(1, min(int(seconds / each), MOST_TOKEN_ID) // log_every)
    return done + left * log_every
