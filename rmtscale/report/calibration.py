"""Constants of a machine held against its measured steps, none of which they were found from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rmtscale.costs.time.constants import TimeConstants
from rmtscale.costs.time.constants_file import read_constants
from rmtscale.costs.time.device_time import Factors
from rmtscale.costs.time.step_time import StepTime
from rmtscale.costs.time_range import predicted_step
from rmtscale.errors import BadInput
from rmtscale.readers import read_text
from rmtscale.records.measurement import quantile
from rmtscale.records.record import Record
from rmtscale.specs.device import DeviceSpec

CLEAR = 1.25
"""A step is bound by what takes so many times as long as the other; else by both."""
BOUNDS = ("device", "host", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One measured step and its prediction."""

    record: Record
    predicted: StepTime
    seconds: float
    """The predicted time, with the host as fast as the record says it was, where it does."""
    measured_seconds: float

    @property
    def error(self) -> float:
        return self.seconds / self.measured_seconds - 1

    @property
    def inside(self) -> bool:
        """Whether the interval holds it that was printed without having seen it."""
        low, high = self.predicted.least_seconds, self.predicted.most_seconds
        return low <= self.measured_seconds <= high

    @property
    def bound(self) -> str:
        """Names what sets the pace by the prediction: ``device``, ``host`` or ``both``."""
        eager, host = self.predicted.eager.seconds * self.predicted.power, self.host_seconds
        captured = self.predicted.captured.seconds * self.predicted.power
        if captured:
            return "device" if captured > 4 * max(host, eager) else "both"
        if eager > CLEAR * host:
            return "device"
        return "host" if host > CLEAR * eager else "both"

    @property
    def host_seconds(self) -> float:
        """The host's part, at the speed that it had."""
        return self.predicted.host_seconds * self.host_factor

    @property
    def host_factor(self) -> float:
        """How many times as long the host needed for its loop as when it was measured."""
        speed = self.record.measured.host_speed
        return 1.0 if speed is None else speed.seconds / LOOP_SECONDS


LOOP_SECONDS = 2.3e-5
"""The fixed loop on the host that the H200's constants were measured with."""


class Errors:
    """Errors of some steps: |predicted / measured - 1|."""

    def __init__(self, tried: Sequence[Tried]) -> None:
        self.points = len(tried)
        self.sizes = tuple(abs(one.error) for one in tried)
        self.inside = sum(one.inside for one in tried)

    def row(self) -> dict[str, Any]:
        """Returns the numbers, with their units in the keys."""
        return {
            "points": self.points,
            "median_error": median(self.sizes),
            "p90_error": quantile(self.sizes, 0.9),
            "worst_error": max(self.sizes),
            "share_in_interval": self.inside / self.points,
        }


def usable(record: Record, device: DeviceSpec) -> bool:
    """Whether it was timed on this kind of GPU, with kernels that are known."""
    point, measured = record.point, record.measured
    return (
        measured.outcome == "ok"
        and measured.event_time is not None
        and measured.environment.gpu in device.driver_names
        and not point.compile_step
        and not point.offload_optimizer
        and not point.capture
    )


def try_constants(constants: TimeConstants, records: Sequence[Record]) -> list[Tried]:
    """Predicts every usable record.

    Raises:
        BadInput: none of them is of the constants' device.
    """
    tried = []
    for record in records:
        if not usable(record, constants.device):
            continue
        point = record.point
        step = predicted_step(
            point.built_model,
            point.workload(),
            constants.device,
            point.recurrence(),
            constants,
            captured=point.cuda_graph,
        )
        time = record.measured.event_time
        if step is None or time is None:
            continue
        speed = record.measured.host_speed
        factor = 1.0 if speed is None else speed.seconds / LOOP_SECONDS
        tried.append(
            Tried(
                record=record,
                predicted=step,
                seconds=step.where(factor, Factors()),
                measured_seconds=time.median_seconds,
            )
        )
    if not tried:
        raise BadInput(
            f"records: none of steps on {constants.device.title} that can be predicted, expected "
            "those of rmtscale profile on it"
        )
    return tried


def rows_of_errors(tried: Sequence[Tried]) -> list[dict[str, Any]]:
    """Errors by what bounds a step, and by model, those that the device bounds apart."""
    rows = [{"model": "", "bound": "", **Errors(tried).row()}]
    for bound in BOUNDS:
        some = [one for one in tried if one.bound == bound]
        if some:
            rows.append({"model": "", "bound": bound, **Errors(some).row()})
    for name in sorted({one.record.point.model.name for one in tried}):
        for bound in BOUNDS:
            some = [
                one for one in tried if one.bound == bound and one.record.point.model.name == name
            ]
            if some:
                rows.append({"model": name, "bound": bound, **Errors(some).row()})
    return rows


def read_calibration(path: Path, device: DeviceSpec | None = None) -> TimeConstants:
    """Reads a file that ``rmtscale calibrate --measure`` wrote.

    Raises:
        BadInput: cannot be read, is of another device, or is none of this version.
    """
    text = read_text(path, f"calibration {str(path)!r}")
    return read_constants(text, str(path), device)
