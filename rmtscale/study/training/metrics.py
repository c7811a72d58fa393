"""Metrics of a training: one JSON line per interval, read back to go on and to report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rmtscale.errors import BadInput
from rmtscale.records.mapping import to_mapping
from rmtscale.records.store import Store

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The steps since the line before."""

    schema_version: int = SCHEMA_VERSION
    step: int
    """Steps done at its end."""
    stage: int
    stage_name: str
    loss: float
    """Mean over the steps."""
    accuracy: float | None
    """Of all batches; None where nothing is answered."""
    newest_accuracy: float | None
    """Of the batches of the newest stage; None where there were none."""
    learning_rate: float
    """Of the last step."""
    tokens: int
    """Text tokens read, those of the roll-in with them, on all devices."""
    flops: int | None = None
    """Of all steps, by the estimator (``matmul``); None where it was not asked."""
    seconds: float
    tokens_per_second: float
    waiting_share: float
    """Share of the time in which the step waited for its data."""
    device_busy_share: float | None = None
    """Share of the time in which a kernel of this process ran on the GPU; where it was watched."""
    peak_allocated_bytes: int | None = None
    """Of torch on the GPU, since the training was started or went on."""
    validation: dict[str, float] | None = None
    """Accuracy (language: loss in nats per token) of the averaged weights by number of segments,
    where they were validated."""

    @property
    def key(self) -> str:
        """The step it ends with."""
        return str(self.step)

    def to_line(self) -> str:
        """Returns one line of JSON, without its end; a loss that is no number stays one."""
        return json.dumps(to_mapping(self), separators=(",", ":"))

    def outcome(self) -> tuple[object, ...]:
        """What does not depend on the clock: the same after a kill as without."""
        return (
            self.step,
            self.stage,
            self.loss,
            self.accuracy,
            self.newest_accuracy,
            self.learning_rate,
            self.tokens,
            self.flops,
            self.validation,
        )


class MetricsStore(Store[Interval]):
    """One file of intervals."""

    kind, version, what = Interval, SCHEMA_VERSION, "metrics"


def read_metrics(path: Path, until_step: int | None = None) -> list[Interval]:
    """Returns the intervals of a file, none after ``until_step``; a torn last line is left out.

    Raises:
        BadInput: a line of another version, or one that is no interval before the last.
    """
    reading = MetricsStore(path).read()
    if reading.damaged_lines:
        line = reading.damaged_lines[0]
        raise BadInput(f"metrics {str(path)!r}, line {line}: {reading.first_damage}")
    return [
        interval
        for interval in reading.records
        if until_step is None or interval.step <= until_step
    ]


def keep_until(path: Path, step: int) -> None:
    """Forgets intervals after ``step``: they will be run, and written, again."""
    if path.is_file():
        MetricsStore(path).rewrite(read_metrics(path, step))
