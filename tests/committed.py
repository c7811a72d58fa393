"""Records that are committed, read once for all tests that look at them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rmtscale.records.store import Reading
from rmtscale.study.records.babilong import BabilongRecord, BabilongStore
from rmtscale.study.records.widths import WIDTHS_FILE, ChosenWidths, WidthStore

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
