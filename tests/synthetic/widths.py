"""Readings that a width was chosen from, which nobody made: clearly synthetic, for tests only."""

from __future__ import annotations

from typing import Any

from rmtscale.study.records.widths import Changes, MemoryChanges, WidthPoint, WidthRecord


def reading(width: float, right: str, **more: Any) -> WidthRecord:
    """By accuracy, with one width at one length."""
    return WidthRecord(
        read_at="2025-01-01T00:00:00+00:00",
        point=_point(by="accuracy", samples=len(right), dead_band=width, **more),
        right=right,
    )


def measured(width: float | None, **more: Any) -> WidthRecord:
    """By changes, which led to a width or to none."""
    kind = Changes(numbers=10, quantiles=(0.1, 0.2, 0.3, 0.4, 0.5), share_over=None)
    return WidthRecord(
        read_at="2025-01-01T00:00:00+00:00",
        point=_point(by="changes", samples=256, **more),
        changes=MemoryChanges(settled=kind, fact=kind, dead_band=width),
    )


def _point(**values: Any) -> WidthPoint:
    given: dict[str, Any] = {
        "task": "memorize",
        "weights": "abc",
        "background": "prose",
        "segments": 64,
        "segment_tokens": 496,
        "batch_size": 4,
        "seed": 0,
        "precision": "fp32",
        "device": "cpu",
    }
    return WidthPoint(**given | values)
