"""Records of readings: how a width was chosen, and a file that is as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmtscale.study.records.widths import ChosenWidths, WidthRecord, WidthStore
from tests.synthetic.widths import measured, reading


def test_how_a_width_was_chosen() -> None:
    read = [
        *(reading(0.0, "1100"), reading(0.3, "1111")),
        *(reading(0.0, "1100", segments=256), reading(0.3, "1110", segments=256)),
    ]
    ways = ChosenWidths([*read, measured(0.4), measured(None, weights="other")])
    assert ways.how("abc", 0.3) == "by accuracy"
    assert ways.how("abc", 0.4) == "by changes"
    assert ways.how("abc", 0.5) == "borrowed"
    assert ways.how("other", 0.3) == "borrowed", "of other weights"
    both = ChosenWidths([*read, measured(0.3)])
    assert both.how("abc", 0.3) == "by changes and accuracy"
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
