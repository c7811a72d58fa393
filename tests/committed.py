"""Records that are committed, read once for all tests that look at them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rmtscale.records.store import Reading
from rmtscale.study.records.babilong import BabilongRecord, BabilongStore

ROOT = Path(__file__).parents[1]


@cache
def babilong_records() -> Reading[BabilongRecord]:
    """Of ``reports/babilong``; reading them takes a second."""
    return BabilongStore(ROOT / "reports/babilong/records.jsonl").read()
