"""Shared by all tests: one thread of torch per worker, and the command line as a function."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hypothesis
import pytest

from rmtscale.records.environment import host_environment
from rmtscale.records.measurement import Measurement, Memory, Samples
from rmtscale.records.point import Point
from rmtscale.records.record import Prediction, Protocol, Record
from rmtscale.specs.catalog import PRESETS
from tests.command_line import Command, Outcome

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A test of a property is not slow because its core is shared.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")


def pytest_collection_finish() -> None:
    """What was imported is no garbage: a training or a measurement collects among its own."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def rmtscale(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs ``rmtscale ARGUMENTS`` in this process, as the console script does."""
    from rmtscale.cli.main import main

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as leaving:
            main(list(arguments))
        captured = capsys.readouterr()
        code = leaving.value.code
        return Outcome(code if isinstance(code, int) else int(bool(code)), *captured)

    return run


def make_point(**values: Any) -> Point:
    """A small full-attention forward pass on the CPU, but for what is given."""
    base = {"model": PRESETS["pythia-14m"], "method": "full", "tokens": 512, "device": "cpu"}
    return Point(**{**base, **values})


def make_record(point: Point | None = None, **measured: Any) -> Record:
    """A record of a point, as if it had been measured."""
    found = {
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
        make_point() if point is None else point,
        Protocol(),
        predicted,
        Measurement(**found),
        "2025-01-01T00:00:00+00:00",
    )


@pytest.fixture
def point() -> Callable[..., Point]:
    """``make_point`` for test files."""
    return make_point


@pytest.fixture
def record() -> Callable[..., Record]:
    """``make_record`` for test files."""
    return make_record


@pytest.fixture
def tiny() -> Callable[[str], Any]:
    """A preset shrunk to two small layers, its kind's switches kept."""

    def shrink(name: str) -> Any:
        spec = PRESETS[name]
        heads = 4
        return replace(
            spec,
            layers=2,
            width=32,
            heads=heads,
            kv_heads=heads if spec.kv_heads == spec.heads else 2,
            head_width=8,
            mlp_width=64,
            vocabulary=101,
            embedding_width=16 if spec.projected_embedding else 32,
            positions=None if spec.positions is None else 64,
            position_rows=0 if spec.positions is None else 64 + spec.position_rows - spec.positions,
            rotary_width=2 if 0 < spec.rotary_width < spec.head_width else spec.rotary_width and 8,
            local_layers=spec.local_layers and 1,
            local_window=spec.local_window and 16,
        )

    return shrink
