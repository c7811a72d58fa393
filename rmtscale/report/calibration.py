"""A machine's calibration from its measured records, held against those it was not fitted to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from rmtscale.costs.calibration import Calibration, Work, fit_calibration, step_work
from rmtscale.errors import BadInput
from rmtscale.records.mapping import Misfit, from_mapping, to_mapping
from rmtscale.records.record import Record
from rmtscale.specs.devices import DEVICES, find_device

CALIBRATION_VERSION = 2
_VERSION_1_KEYS = {
    "launch_seconds": "operator_seconds",
    "captured_launch_seconds": "captured_operator_seconds",
    "products_efficiency": "matmul_efficiency",
}
"""The keys of version 1, by today's names."""
_FEWEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A calibration and how good it is. Errors are |predicted / measured - 1|, medians."""

    schema_version: int = CALIBRATION_VERSION
    gpu: str
    """The driver's name of the GPU."""
    calibration: Calibration
    fitted_points: int
    fitted_error: float
    fitted_worst: float
    held_out_points: int
    held_out_error: float
    held_out_worst: float

    def __post_init__(self) -> None:
        if self.schema_version != CALIBRATION_VERSION:
            raise ValueError(
                f"schema_version {self.schema_version}: expected {CALIBRATION_VERSION}"
            )


def step_of(record: Record) -> Work:
    """Returns the work in the step of a record, whose prediction names a known device."""
    point = record.point
    device = find_device(record.predicted.device or "")
    return step_work(
        point.built_model,
        point.workload(),
        device,
        point.recurrence(),
        cuda_graph=point.cuda_graph,
    )


def usable(record: Record) -> bool:
    """Whether it is timed on a GPU with known peaks, and not compiled (that has other kernels)."""
    return (
        record.measured.outcome == "ok"
        and record.measured.event_time is not None
        and record.predicted.device in DEVICES
        and not record.point.compile_step
    )


def calibrate(records: Sequence[Record]) -> Calibrated:
    """Fits one half of the records, chosen by the hash of their points, and tries the other.

    Raises:
        BadInput: records of several GPUs, or too few of any.
    """
    used = [record for record in records if usable(record)]
    gpus = sorted({str(record.measured.environment.gpu) for record in used})
    if len(gpus) > 1:
        raise BadInput(f"records of {', '.join(gpus)}: expected one GPU, each has its own numbers")
    if len(used) < _FEWEST:
        raise BadInput(
            f"{len(used)} usable records: expected {_FEWEST} or more, timed on a GPU whose peaks "
            "are known and not compiled"
        )
    used.sort(key=_place)
    points = list(dict.fromkeys(map(_place, used)))
    chosen = set(points[::2])  # both halves of an A/A pair are on one side
    fitted = [(step_of(record), _seconds(record)) for record in used if _place(record) in chosen]
    held_out = [
        (step_of(record), _seconds(record)) for record in used if _place(record) not in chosen
    ]
    missing = {work.dtype for work, _ in held_out} - {work.dtype for work, _ in fitted}
    held_out = [step for step in held_out if step[0].dtype not in missing]
    device = used[0].predicted.device
    calibration = fit_calibration(str(device), fitted)
    ours, others = _errors(calibration, fitted), _errors(calibration, held_out)
    return Calibrated(
        gpu=gpus[0],
        calibration=calibration,
        fitted_points=len(ours),
        fitted_error=median(ours),
        fitted_worst=max(ours),
        held_out_points=len(others),
        held_out_error=median(others),
        held_out_worst=max(others),
    )


def _place(record: Record) -> bytes:
    """Returns a point's place among the others: random, but always the same."""
    return hashlib.sha256(replace(record.point, replicate=0).key.encode()).digest()


def _seconds(record: Record) -> float:
    time = record.measured.event_time
    assert time is not None, "usable records only"
    return time.median_seconds


def _errors(calibration: Calibration, steps: Sequence[tuple[Work, float]]) -> list[float]:
    return [abs(calibration.seconds(work) / measured - 1) for work, measured in steps]


def calibration_text(calibrated: Calibrated) -> str:
    """Returns the content of a calibration file."""
    return json.dumps(to_mapping(calibrated), indent=2, sort_keys=True) + "\n"


def read_calibration(path: Path) -> Calibrated:
    """Reads a file that ``rmtscale calibrate`` wrote.

    Raises:
        BadInput: cannot be read, or is no calibration of this version.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return from_mapping(Calibrated, _as_version_2(content))
    except OSError as error:
        raise BadInput(f"calibration {str(path)!r}: cannot be read ({error.strerror})") from error
    except (ValueError, Misfit) as error:
        raise BadInput(
            f"calibration {str(path)!r}: expected what rmtscale calibrate wrote ({error})"
        ) from error


def _as_version_2(content: Any) -> Any:
    """Returns the content of a file of version 1 under today's keys; anything else unchanged."""
    if not isinstance(content, dict) or content.get("schema_version") != 1:
        return content
    fitted = content.get("calibration")
    if isinstance(fitted, dict):
        fitted = {_VERSION_1_KEYS.get(key, key): value for key, value in fitted.items()}
    return {**content, "schema_version": CALIBRATION_VERSION, "calibration": fitted}
