"""One record: what it holds, what of it is worked out, and that a line gives it back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.records.environment import host_environment
from rmtscale.records.mapping import Misfit, Untrue, from_mapping, to_mapping
from rmtscale.records.measurement import Memory, Samples, quantile
from rmtscale.records.point import Point
from rmtscale.records.record import SCHEMA_VERSION, Protocol, Record
from rmtscale.records.store import RecordStore
from rmtscale.specs.catalog import PRESETS


def test_a_line_gives_the_record_back(record: Callable[..., Record]) -> None:
    one = record(energy_joules=1.5, unknown={"event_time": "why"}, stage_seconds={"build": 0.5})
    line = one.to_line()
    assert "\n" not in line
    assert RecordStore.parse_line(line) == one


def test_what_the_design_lists_is_there(record: Callable[..., Record]) -> None:
    data = json.loads(record().to_line())
    assert data["schema_version"] == SCHEMA_VERSION == 1
    assert set(data["point"]) >= {
        *("model", "method", "tokens", "segment_size", "memory_tokens", "batch_size", "mode"),
        *("precision", "attention", "optimizer", "dropout", "bptt_segments", "checkpoint_segments"),
        *("checkpoint_layers", "memory_limit_bytes", "device", "replicate"),
    }
    assert data["point"]["model"]["layers"] == PRESETS["pythia-14m"].layers
    assert set(data["protocol"]) >= {"warmup_steps", "repeats", "timeout_seconds"}
    assert set(data["predicted"]) == {
        *("flops", "peak_bytes", "seconds", "device", "least_seconds", "most_seconds"),
        "layout",
    }
    assert set(data["measured"]) >= {
        *("outcome", "error", "event_time", "wall_time", "memory", "attention_kernel"),
        *("matmul_ceiling_flops_per_second", "energy_joules", "unknown", "environment"),
    }
    assert set(data["measured"]["memory"]) >= {
        *("baseline_allocated_bytes", "peak_allocated_bytes", "peak_reserved_bytes"),
        *("process_bytes", "non_torch_bytes", "peak_resident_bytes"),
    }
    assert set(data["measured"]["environment"]) >= {
        *("gpu", "driver", "cuda", "packages", "commit", "before", "after"),
    }
    assert data["measured"]["wall_time"]["seconds"] == [0.03, 0.01, 0.02]


def test_rates(record: Callable[..., Record]) -> None:
    one = record()
    assert one.measured.step_seconds == 0.02
    assert one.achieved_flops_per_second == 10**9 / 0.02
    assert one.share_of_ceiling == pytest.approx(0.05)
    failed = record(outcome="oom", wall_time=None, matmul_ceiling_flops_per_second=None)
    assert failed.achieved_flops_per_second is failed.share_of_ceiling is None


def test_event_time_goes_before_wall_time(record: Callable[..., Record]) -> None:
    assert record(event_time=Samples.of((0.5,))).measured.step_seconds == 0.5


def test_quartiles_are_numpys() -> None:
    import numpy as np

    for count in range(1, 9):
        values = tuple(float(7 * k % 5) for k in range(count))
        samples = Samples.of(values)
        assert samples is not None
        assert samples.seconds == values
        assert samples.median_seconds == np.median(values)
        assert samples.lower_quartile_seconds == np.quantile(values, 0.25)
        assert samples.iqr_seconds == np.quantile(values, 0.75) - np.quantile(values, 0.25)
        assert quantile(values, 0.9) == pytest.approx(np.quantile(values, 0.9))
    assert Samples.of(()) is None


def test_peaks_are_not_mixed() -> None:
    cuda = Memory(peak_allocated_bytes=5, peak_reserved_bytes=7, process_bytes=9)
    assert cuda.model_bytes == 5
    assert Memory(start_resident_bytes=3, peak_resident_bytes=10).model_bytes == 7
    assert Memory().model_bytes is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measured_at": None}, "measured_at: None is not text"),
        ({"measured_at": 5}, "measured_at: 5 is not text"),
        ({"extra": 1}, "extra: no such field"),
        ({"point": 3}, "point.: expected an object"),
        ({"share_of_ceiling": True}, "share_of_ceiling: True is not a number"),
    ],
)
def test_a_damaged_record_is_said_by_field(
    record: Callable[..., Record], change: dict[str, Any], message: str
) -> None:
    data = to_mapping(record()) | change
    with pytest.raises(Misfit, match=message):
        RecordStore.parse_line(json.dumps(data))


def test_damage_inside(record: Callable[..., Record]) -> None:
    data = to_mapping(record())
    data["measured"]["outcome"] = "fine"
    with pytest.raises(Misfit, match=r"measured\.outcome: 'fine' is not one of ok, oom"):
        RecordStore.parse_line(json.dumps(data))
    data = to_mapping(record())
    del data["point"]["model"]["layers"]
    with pytest.raises(Misfit, match=r"point\.model\.layers: missing"):
        RecordStore.parse_line(json.dumps(data))
    data = to_mapping(record())
    data["point"]["tokens"] = -1
    with pytest.raises(Untrue, match=r"point\.tokens: -1, expected 0 or more"):
        RecordStore.parse_line(json.dumps(data))
    for line in ("", "[1]", "{", '{"a": 1}'):
        with pytest.raises(Misfit):
            RecordStore.parse_line(line)


def test_another_schema_version_is_refused(record: Callable[..., Record]) -> None:
    data = to_mapping(record()) | {"schema_version": 2}
    with pytest.raises(BadInput, match="schema version 2: expected 1"):
        RecordStore.parse_line(json.dumps(data))


def test_identity_of_points(point: Callable[..., Point]) -> None:
    one = point()
    assert from_mapping(Point, json.loads(one.key)) == one
    assert point().key == one.key
    changes: list[dict[str, Any]] = [
        {"tokens": 513},
        {"precision": "bf16"},
        {"attention": "eager"},
        {"replicate": 1},
        {"memory_limit_bytes": 10},
        {"model": replace(one.model, layers=5)},
    ]
    keys = {point(**change).key for change in changes} | {one.key}
    assert len(keys) == len(changes) + 1
    assert point(tokens=9, replicate=1).series == one.series
    assert point(precision="bf16").series != one.series


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "rmt"}, "segment size and memory tokens: expected both for rmt"),
        ({"segment_size": 128}, "segment size and memory tokens: expected both for rmt"),
        ({"mode": "train"}, "optimizer None: expected one for train"),
        ({"device": "tpu"}, "device 'tpu': expected one of cuda, cpu"),
        ({"memory_limit_bytes": 0}, "memory limit 0: expected"),
        ({"model": PRESETS["gpt-neo-125m"]}, "attention 'sdpa': gpt-neo-125m has none"),
        (
            {"model": PRESETS["gpt2"], "tokens": 2000, "checkpoint": "gpt2"},
            "tokens 2000: expected 1024 or less, the position table of gpt2",
        ),
        (
            {"method": "rmt", "segment_size": 4, "memory_tokens": 2},
            "segment size 4: expected more than 4",
        ),
    ],
)
def test_points_that_cannot_be(
    point: Callable[..., Point], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        point(**values)


def test_a_position_table_is_raised_for_full_attention_only(point: Callable[..., Point]) -> None:
    opt = PRESETS["opt-125m"]
    long = point(model=opt, tokens=4000)
    assert long.raised_positions == 4000
    assert (long.built_model.positions, long.built_model.position_rows) == (4000, 4002)
    assert point(model=opt, tokens=2048).raised_positions is None
    assert point(tokens=10**6).raised_positions is None  # rotary
    rmt = point(model=opt, tokens=4000, method="rmt", segment_size=512, memory_tokens=2)
    assert rmt.built_model == opt


def test_protocol() -> None:
    with pytest.raises(BadInput, match="warmup steps 0: expected more than 0"):
        Protocol(warmup_steps=0)


def test_the_environment_names_versions_and_no_paths() -> None:
    here = host_environment()
    assert set(here.packages) <= {"rmtscale", "torch", "transformers"}
    assert "torch" in here.packages
    assert here.processor_threads >= 1
    assert "/home" not in str(here)
