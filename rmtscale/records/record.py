"""One measured point: what was asked, predicted and found. One line of a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from rmtscale.errors import BadInput
from rmtscale.records.mapping import Untrue, to_mapping
from rmtscale.records.measurement import Measurement, Sent
from rmtscale.records.point import Point

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How it was measured."""

    warmup_steps: int = 2
    """Whole steps before anything is measured; 1 or more (an optimizer's state has to exist)."""
    repeats: int = 5
    """Timed steps; fewer ran where they would have taken longer than ``timing_seconds``."""
    timing_seconds: float = 20.0
    """No further step is begun after this, once three are done."""
    timeout_seconds: float = 300.0
    """The limit of the whole child process."""

    def __post_init__(self) -> None:
        for name in ("warmup_steps", "repeats", "timing_seconds", "timeout_seconds"):
            value = getattr(self, name)
            if not value > 0:
                raise BadInput(f"{name.replace('_', ' ')} {value!r}: expected more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutPrediction:
    """Numbers that the formulas of many GPUs give for the busiest process."""

    memory_bytes: dict[str, int] = field(default_factory=dict)
    """Bytes by term."""
    peak_at: str = ""
    """The place in the step where it peaks."""
    sent: tuple[Sent, ...] = ()
    """Collectives of one step, by kind."""
    step_seconds: float | None = None
    """The step with its communication; None where the device is not one of the known ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The prediction of the formulas for the same point, made without having seen it."""

    flops: int
    """FLOPs of this step as it was run, by the ``matmul`` convention; with a layout the mean of its
    processes."""
    peak_bytes: int | None
    """Allocated tensors; None where the formulas do not cover the point."""
    seconds: float | None
    """Roofline: a lower bound. None where the device is not one of the known ones."""
    device: str | None
    """The device whose peaks the roofline took."""
    least_seconds: float | None = None
    """The range that was predicted; None where only a roofline is known, as in older records."""
    most_seconds: float | None = None
    layout: LayoutPrediction | None = None
    """With a layout: of one process, communication included."""

    def __post_init__(self) -> None:
        if self.peak_bytes == 0:  # a step has its weights; changes are told as shares of it
            raise Untrue("peak_bytes: 0, expected more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One measured point."""

    schema_version: int = SCHEMA_VERSION
    measured_at: str
    """UTC, ISO 8601."""
    point: Point
    protocol: Protocol
    predicted: Prediction
    measured: Measurement
    achieved_flops_per_second: float | None
    """Predicted FLOPs over the median step."""
    share_of_ceiling: float | None
    """Achieved over the matmul ceiling that the same process measured."""

    @classmethod
    def of(
        cls,
        point: Point,
        protocol: Protocol,
        predicted: Prediction,
        measured: Measurement,
        measured_at: str,
    ) -> Record:
        """Makes the record and works out its rates."""
        seconds, ceiling = measured.step_seconds, measured.matmul_ceiling_flops_per_second
        achieved = predicted.flops / seconds if seconds else None
        return cls(
            measured_at=measured_at,
            point=point,
            protocol=protocol,
            predicted=predicted,
            measured=measured,
            achieved_flops_per_second=achieved,
            share_of_ceiling=achieved / ceiling if achieved and ceiling else None,
        )

    @property
    def key(self) -> str:
        """Equal for two measurements of the same point."""
        return self.point.key

    def to_line(self) -> str:
        """Returns one line of JSON, without its end."""
        return json.dumps(to_mapping(self), separators=(",", ":"), allow_nan=False)

    def to_row(self) -> dict[str, object]:
        """Returns the numbers of the record, flat, with units in the keys."""
        point, measured, predicted = self.point, self.measured, self.predicted
        memory, of_layout = measured.memory, predicted.layout or LayoutPrediction()
        return {
            "model": point.model.name,
            "method": point.method,
            "tokens": point.tokens,
            "segment_size": point.segment_size,
            "memory_tokens": point.memory_tokens,
            "layout": None if point.layout is None else point.layout.name,
            "mode": point.mode,
            "batch_size": point.batch_size,
            "dtype": point.precision,
            "attention": point.attention,
            "attention_kernel": measured.attention_kernel,
            "replicate": point.replicate,
            "outcome": measured.outcome,
            "error": measured.error,
            "step_seconds": measured.step_seconds,
            "predicted_seconds": predicted.seconds,
            "predicted_step_seconds": of_layout.step_seconds,
            "peak_bytes": None if memory is None else memory.model_bytes,
            "predicted_peak_bytes": predicted.peak_bytes,
            "sent_bytes": sum(one.sent_bytes for one in measured.sent) if point.layout else None,
            "predicted_sent_bytes": (
                sum(one.sent_bytes for one in of_layout.sent) if point.layout else None
            ),
            "peak_reserved_bytes": None if memory is None else memory.peak_reserved_bytes,
            "process_bytes": None if memory is None else memory.process_bytes,
            "predicted_flops": predicted.flops,
            "achieved_flops_per_second": self.achieved_flops_per_second,
            "matmul_ceiling_flops_per_second": measured.matmul_ceiling_flops_per_second,
            "share_of_ceiling": self.share_of_ceiling,
            "energy_joules": measured.energy_joules,
        }
