"""What is committed as measured: the predictions are held against it, point by point.

``-s`` prints the errors; ``docs/accuracy.md`` states them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median

import pytest

from rmtscale.profiler.definition import make_sweep, read_definition
from rmtscale.profiler.prediction import predict
from rmtscale.records.record import Record
from rmtscale.records.store import RecordStore
from rmtscale.report.noise import pair_noise
from rmtscale.report.quantities import TIME
from rmtscale.specs.devices import find_device

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "profiles" / "nvidia-h200"
ELSEWHERE = {"precisions", "figure-10-captured", "advice", "two-gpus", "two-gpus-context"}
SWEEPS = sorted(
    path.stem
    for path in (ROOT / "profiles" / "sweeps").glob("*.toml")
    if path.stem not in ELSEWHERE and not path.stem.startswith("time-")
)
"""Those whose memory is predicted, measured to the end; ``test_measured_precisions``, ``_time``,
``_captured``, ``_advice`` and ``_layouts`` have others."""
ACCURACY = " ".join((ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8").split())
RMT_PAGE = (ROOT / "docs" / "rmt.md").read_text(encoding="utf-8")
GIB = 2**30


def records() -> list[Record]:
    found: list[Record] = []
    for name in SWEEPS:
        reading = RecordStore(FOLDER / f"{name}.jsonl").read()
        assert not list(reading.warnings())
        found += reading.records
    return found


@pytest.mark.parametrize("name", SWEEPS)
def test_every_point_of_every_sweep_was_measured(name: str) -> None:
    """On one H200, to the end; nothing crashed, nothing was killed."""
    sweep = make_sweep(read_definition(ROOT / "profiles" / "sweeps" / f"{name}.toml"))
    found = RecordStore(FOLDER / f"{name}.jsonl").read().latest()
    assert set(found) == {point.key for point in sweep.points}
    for record in found.values():
        assert record.measured.environment.gpu == "NVIDIA H200"
        assert record.measured.environment.commit is not None
        assert record.measured.outcome in ("ok", "oom")
        if record.measured.outcome == "oom":
            assert (record.point.method, record.point.attention) == ("full", "eager")


def memory_errors() -> dict[str, float]:
    device, errors = find_device("h200"), {}
    for record in records():
        memory = record.measured.memory
        if record.measured.outcome != "ok" or memory is None:
            continue
        peak = memory.peak_allocated_bytes
        assert peak is not None
        if peak > GIB:
            predicted = predict(record.point, device).peak_bytes
            assert predicted is not None
            key = f"{record.point.title()}, {record.point.tokens}, {record.point.replicate}"
            errors[key] = predicted / peak - 1
    return errors


def test_memory_is_predicted_within_five_percent() -> None:
    """Every training and inference point above 1 GiB."""
    errors = memory_errors()
    worst = max(errors, key=lambda key: abs(errors[key]))
    middle = median(map(abs, errors.values()))
    said = (
        f"{len(errors)} points above 1 GiB the prediction is {middle:.1%} off in the median "
        f"and {abs(errors[worst]):.1%} at worst"
    )
    sys.stdout.write(f"\nmemory: {said} ({worst})\n")
    assert len(errors) > 80
    assert abs(errors[worst]) < 0.05, worst
    assert said.replace("%", " %") in ACCURACY


def test_what_did_not_fit_was_predicted_not_to_fit() -> None:
    device = find_device("h200")
    for record in records():
        limit = min(
            record.point.memory_limit_bytes or device.usable_memory_bytes,
            device.usable_memory_bytes,
        )
        predicted = predict(record.point, device).peak_bytes
        assert predicted is not None
        assert (predicted > limit) == (record.measured.outcome == "oom"), record.point.title()


def test_the_noise_is_what_the_page_says() -> None:
    names = [*SWEEPS, "time-models", "time-crossovers"]
    pairs = [
        pair_noise(RecordStore(FOLDER / f"{name}.jsonl").read().records, TIME) for name in names
    ]
    worst = max(pair for pair in pairs if pair is not None)
    assert f"{worst:.1%}".replace("%", " %") in ACCURACY


def test_what_was_predicted_before_it_was_measured() -> None:
    """Kept in the records, by an older version; that is what the pages show."""
    errors = []
    for record in records():
        memory = record.measured.memory
        if memory is None or record.measured.outcome != "ok":
            continue
        peak, predicted = memory.peak_allocated_bytes, record.predicted.peak_bytes
        assert peak is not None
        assert predicted is not None
        if peak > GIB:
            errors.append(abs(predicted / peak - 1))
    assert f"{max(errors):.1%} at worst".replace("%", " %") in ACCURACY


def test_the_roofline_is_a_lower_bound() -> None:
    """Of every step that was timed; of the longest full attention by the least."""
    shares = []
    for record in records():
        time, bound = record.measured.event_time, record.predicted.seconds
        if time is not None and bound is not None:
            shares.append(bound / time.median_seconds)
    assert len(shares) > 100
    assert max(shares) < 1
    assert max(shares) > 0.5, "a bound far below everything would say nothing"


HOST_BOUND = {"train time, checkpointed"}
"""Waits for the host, whose speed differs between machines: the best run has to meet it."""


def test_the_bench_of_the_rmt_met_its_targets() -> None:
    """The newest run of ``tests/bench/rmt_h200.py``; its ratios stand in ``docs/rmt.md``."""
    lines = (FOLDER / "bench" / "rmt.jsonl").read_text(encoding="utf-8").splitlines()
    runs = [run for run in map(json.loads, lines) if run["kind"] == "ratios"]
    newest = runs[-1]
    assert newest["environment"]["gpu"] == "NVIDIA H200"
    for name, (sign, target) in newest["targets"].items():
        value = newest["ratios"][name]
        assert f"{value:.3f}" in RMT_PAGE, name
        if name in HOST_BOUND:
            value = min(run["ratios"][name] for run in runs)
        assert value <= target if sign == "<=" else value >= target, name
