"""Records of readings: how a width was chosen, and a file that is as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rmtscale.study.records.widths import (
    Changes,
    ChosenWidths,
    MemoryChanges,
    WidthPoint,
    WidthRecord,
    WidthStore,
)

POINT = WidthPoint(
    by="accuracy",
    task="memorize",
    weights="abc",
    background="prose",
    segments=64,
    segment_tokens=496,
    samples=4,
    batch_size=4,
    seed=0,
    precision="fp32",
    device="cpu",
)


def reading(width: float, right: str, **more: object) -> WidthRecord:
    point = replace(POINT, dead_band=width, **more)  # type: ignore[arg-type]
    return WidthRecord(read_at="2026-12-01T00:00:00+00:00", point=point, right=right)


def measured(width: float | None, weights: str = "abc") -> WidthRecord:
    kind = Changes(numbers=10, quantiles=(0.1, 0.2, 0.3, 0.4, 0.5), share_over=None)
    changes = MemoryChanges(settled=kind, fact=kind, dead_band=width)
    point = replace(POINT, by="changes", weights=weights)
    return WidthRecord(read_at="2026-12-01T00:00:00+00:00", point=point, changes=changes)


def test_how_a_width_was_chosen() -> None:
    read = [
        *(reading(0.0, "1100"), reading(0.3, "1111")),
        *(reading(0.0, "1100", segments=256), reading(0.3, "1110", segments=256)),
    ]
    ways = ChosenWidths([*read, measured(0.4), measured(None, "other")])
    assert ways.how("abc", 0.3) == "by accuracy"
    assert ways.how("abc", 0.4) == "by changes"
    assert ways.how("abc", 0.5) == "borrowed"
    assert ways.how("other", 0.3) == "borrowed", "of other weights"
    assert ChosenWidths().how("abc", 0.3) == "borrowed"


def test_readings_of_other_stories_are_another_choice() -> None:
    """Nothing of them is paired with these, whose lengths may not be the same either."""
    read = [reading(0.0, "1100"), reading(0.3, "1111"), reading(0.0, "110", seed=1)]
    ways = ChosenWidths([*read, reading(0.2, "111", seed=1)])
    assert [ways.how("abc", width) for width in (0.2, 0.3)] == ["by accuracy"] * 2


@pytest.mark.parametrize("record", [reading(0.3, "0110"), reading(0.0, "1"), measured(0.35)])
def test_a_file_is_read_as_it_was_written(record: WidthRecord, tmp_path: Path) -> None:
    store = WidthStore(tmp_path / "widths.jsonl")
    store.append(record)
    (found,) = store.read().records
    assert found == record
    assert found.to_line() == record.to_line()
