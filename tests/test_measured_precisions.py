"""The sweep of precisions, optimizers, adapters and micro-batches, as an H200 measured it.

What was predicted before stays in the records.
"""

from __future__ import annotations

from pathlib import Path

from rmtscale.profiler.definition import make_sweep, read_definition
from rmtscale.records.store import RecordStore

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
