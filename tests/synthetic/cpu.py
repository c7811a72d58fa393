"""Points and records of this machine's CPU that nobody measured, for tests only."""

from __future__ import annotations

from typing import Any

from rmtscale.records.environment import host_environment
from rmtscale.records.measurement import Measurement, Memory, Samples
from rmtscale.records.point import Point
from rmtscale.records.record import Prediction, Protocol, Record
from rmtscale.specs.catalog import PRESETS


def cpu_point(**values: Any) -> Point:
    """A small full-attention forward pass, but for what is given."""
    base = {"model": PRESETS["pythia-14m"], "method": "full", "tokens": 512, "device": "cpu"}
    return Point(**{**base, **values})


def cpu_record(point: Point | None = None, **measured: Any) -> Record:
    """A record of a point, as if it had been measured."""
    values = {
        "outcome": "ok",
        "wall_time": Samples.of((0.03, 0.01, 0.02)),
        "memory": Memory(
            start_resident_bytes=100,
            baseline_resident_bytes=200,
            peak_resident_bytes=1100,
            resident_source="kernel",
        ),
        "matmul_ceiling_flops_per_second": 1e12,
        "environment": host_environment(),
        **measured,
    }
    predicted = Prediction(flops=10**9, peak_bytes=900, seconds=None, device=None)
    return Record.of(
        cpu_point() if point is None else point,
        Protocol(),
        predicted,
        Measurement(**values),
        "2025-01-01T00:00:00+00:00",
    )
