"""The first picture of a page shows what its title compares."""

from __future__ import annotations

from pathlib import Path

from rmtscale.records.store import RecordStore
from rmtscale.report.figures.answers import answer
from rmtscale.report.figures.overview import main_panel
from rmtscale.report.figures.panels import panels_of
from rmtscale.report.quantities import MEMORY
from rmtscale.report.series import group_records

FOLDER = Path(__file__).parents[2] / "profiles" / "nvidia-h200"
FILES = ("figure-10-plain", "gpt2-train")


def test_what_is_compared_is_in_the_picture() -> None:
    records = [
        record for name in FILES for record in RecordStore(FOLDER / f"{name}.jsonl").read().records
    ]
    group = next(one for one in group_records(records) if one.name.endswith("fp32"))
    first = main_panel(group)
    assert {one.point.attention for one in first.of("full")} == {"sdpa"}
    assert "at 16k tokens full attention takes" in answer(first, MEMORY)
    others = [answer(one, MEMORY) for one in panels_of([group]) if one.of("rmt")]
    eager = [words for words in others if "not in this panel" in words]
    assert eager, "eager attention ends before, and RMT beside it is compared with the best"
