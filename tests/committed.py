"""What is committed, read for all tests that look at it: records, once, and settings that ran."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from rmtscale.records.store import Reading
from rmtscale.study.records.babilong import BabilongRecord, BabilongStore
from rmtscale.study.records.widths import WIDTHS_FILE, ChosenWidths, WidthStore
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings

ROOT = Path(__file__).parents[1]


@cache
def babilong_records() -> Reading[BabilongRecord]:
    """Of ``reports/babilong``; reading them takes a second."""
    return BabilongStore(ROOT / "reports/babilong/records.jsonl").read()


@cache
def babilong_widths() -> ChosenWidths:
    """Says how the widths in ``reports/babilong`` were chosen."""
    found = WidthStore(ROOT / "reports/babilong" / WIDTHS_FILE).read().latest()
    return ChosenWidths(list(found.values()))


def settings_that_ran(folder: Path) -> dict[str, dict[str, Any]]:
    """By training of a memory task: a setting that is younger than a run was its default now."""
    defaults = json.loads(MemoryTaskSettings().to_json())
    lines = (folder / "settings.jsonl").read_text(encoding="utf-8").splitlines()
    found = {one.pop("training"): one for one in map(json.loads, lines)}
    assert len(found) == len(lines)
    assert all(set(one) <= set(defaults) for one in found.values())
    return {training: defaults | one for training, one in found.items()}
