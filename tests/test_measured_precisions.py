"""The sweep of precisions, optimizers, adapters and micro-batches, as an H200 measured it.

What was predicted before stays in the records; what was mended after is held apart from it.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import median

from rmtscale.profiler.definition import make_sweep, read_definition
from rmtscale.profiler.prediction import predict
from rmtscale.records.point import Point
from rmtscale.records.store import RecordStore
from rmtscale.specs.devices import find_device
from rmtscale.specs.precision import find_precision

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "profiles" / "nvidia-h200" / "precisions.jsonl"
DEFINITION = ROOT / "profiles" / "sweeps" / "precisions.toml"


def test_all_but_three_points_were_measured() -> None:
    """On one H200; none failed, and the page of records counts them."""
    reading = RecordStore(RECORDS).read()
    assert not list(reading.warnings())
    found = reading.latest()
    points = make_sweep(read_definition(DEFINITION)).points
    # Which point is measured twice follows from the FLOPs as they were counted on that day.
    once = {key for key, record in found.items() if not record.point.replicate}
    assert once < {point.key for point in points if not point.replicate}
    assert len(found) == len(once) + 1
    for record in found.values():
        assert record.measured.environment.gpu == "NVIDIA H200"
        assert record.measured.outcome == "ok"
    page = (ROOT / "profiles" / "README.md").read_text(encoding="utf-8")
    assert f"{len(found)} of its {len(points)} points" in page
    assert len(found) >= 40


def group(point: Point) -> str:
    mode = "training" if point.mode == "train" else "forward pass"
    method = "RMT" if point.method == "rmt" else "full attention"
    dtypes = "autocast" if find_precision(point.precision).autocast else "one dtype"
    return f"{mode}, {method}, {dtypes}"


def test_errors_of_the_peak_by_group() -> None:
    """As predicted before the measurement, and as the model recomputes them: all in the page."""
    device = find_device("h200")
    before, mended = defaultdict(list), defaultdict(list)
    for record in RecordStore(RECORDS).read().records:
        memory, first = record.measured.memory, record.predicted.peak_bytes
        again = predict(record.point, device).peak_bytes
        assert memory is not None
        peak = memory.peak_allocated_bytes
        assert peak is not None
        assert first is not None
        assert again is not None
        for name in (group(record.point), "all"):
            before[name].append(abs(first / peak - 1))
            mended[name].append(abs(again / peak - 1))
    page = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    for name, errors in before.items():
        row = [name, str(len(errors))]
        for found in (errors, mended[name]):
            row += [f"{100 * median(found):.1f}", f"{100 * max(found):.1f}"]
        assert f"| {' | '.join(row)} |" in page, name
    assert max(mended["all"]) < 0.05
