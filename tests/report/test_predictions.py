"""What is predicted today stands beside what was before a point was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rmtscale.records.record import Record
from rmtscale.records.store import Reading, RecordStore
from rmtscale.report.document import Document, Source, make_document
from rmtscale.report.figures import predicted, terms
from rmtscale.report.measured import measured_tables
from rmtscale.report.predictions import done_share, flops_of, peak_now, seconds_now
from rmtscale.report.text import markdown_report, records_csv
from tests.synthetic.cpu import cpu_point, cpu_record
from tests.synthetic.records import figure_10

H200 = Path(__file__).parents[2] / "profiles" / "nvidia-h200"


def document(records: list[Record]) -> Document:
    return make_document([Source("made.jsonl", Reading(tuple(records)))])


def column(made: Document, name: str, after: str = "") -> list[str]:
    """The cells of the table of points under a name, or under the next of that name."""
    (table,) = (table for table in made.tables if table.name == "points")
    start = table.columns.index(after) if after else 0
    place = table.columns.index(name, start)
    return [row[place].text for row in table.rows]


def test_what_was_predicted_before_is_shown_where_it_reads_otherwise() -> None:
    first, *others = figure_10([1000, 2000])
    stored = first.predicted.peak_bytes
    assert stored is not None
    earlier = replace(first, predicted=replace(first.predicted, peak_bytes=round(stored * 0.9)))
    made = document([earlier, *others])
    now, before = (column(made, name, "memory") for name in ("memory, predicted", "before"))
    changed = [(a, b) for a, b in zip(now, before, strict=True) if b != "same"]
    ((today, once),) = changed
    assert today != once
    remark = f"Memory of 1 of {1 + len(others)} points is predicted otherwise today"
    assert any(text.startswith(remark) and "by +11 % to +11 %" in text for text in made.remarks)
    assert not any("otherwise" in text for text in document([first, *others]).remarks)


def test_a_time_is_a_range_and_an_older_roofline_has_no_end() -> None:
    record = figure_10([2000])[0]
    older = replace(
        record, predicted=replace(record.predicted, least_seconds=None, most_seconds=None)
    )
    assert all(" to " in text for text in column(document([record]), "step, predicted"))
    assert column(document([record]), "before", "step, predicted") == ["same"]
    (once,) = column(document([older]), "before", "step, predicted")
    assert once.startswith("at least ")
    assert " to " in measured_tables([record])[0].rows[0][3]
    assert measured_tables([older])[0].rows[0][3].startswith("at least ")


def test_the_numbers_of_today_are_in_the_csv() -> None:
    record = figure_10([2000])[0]
    head, row = (line.split(",") for line in records_csv(document([record])).splitlines())
    cells = dict(zip(head, row, strict=True))
    peak, seconds = peak_now(record), seconds_now(record)
    assert peak is not None
    assert seconds is not None
    assert seconds.least < seconds.most
    assert int(cells["predicted_now_peak_bytes"]) == peak.least == record.predicted.peak_bytes
    assert float(cells["predicted_now_least_seconds"]) == seconds.least
    assert float(cells["predicted_now_most_seconds"]) == seconds.most


def test_resident_memory_of_a_cpu_is_not_held_against_the_predicted_peak() -> None:
    records = [cpu_record(cpu_point(tokens=tokens)) for tokens in (128, 256)]
    made = document(records)
    assert column(made, "error") == ["-", "-"]
    assert "no allocator's peak" in markdown_report(made)
    assert predicted.draw_memory(made.groups) is None
    assert terms.draw(made.groups) is None
    assert all(row[6] == "" for table in measured_tables(records) for row in table.rows)


@pytest.mark.parametrize("name", ["figure-10-plain", "gpt2-inference"])
def test_most_of_what_was_measured_lies_in_the_range_of_today(name: str) -> None:
    records = RecordStore(H200 / f"{name}.jsonl").read().records
    found: list[Any] = [
        (record.measured.step_seconds, span)
        for record in records
        if record.measured.outcome == "ok" and (span := seconds_now(record)) is not None
    ]
    inside = [span.least <= seconds <= span.most for seconds, span in found]
    assert len(inside) >= 10
    assert sum(inside) / len(inside) >= 0.8


def test_shares_of_the_ceiling_count_what_is_run() -> None:
    """Of full attention no head but the last token's; of GPT-2's lean segments no unread rows."""
    records = RecordStore(H200 / "gpt2-inference.jsonl").read().records
    points = [one.point for one in records if one.point.precision == "bf16"]
    full = next(one for one in points if one.method == "full" and one.tokens == 64_000)
    blocks = 12 * (2 * 64_000 * 12 * 768**2), 12 * 4 * 768 * 64_000**2
    head = 2 * 768 * 50257
    assert flops_of(full) == sum(blocks) + head
    done = blocks[0] + blocks[1] * 64_001 / 128_000 + head
    assert done_share(full, "cudnn") * flops_of(full) == pytest.approx(done)
    long = next(one for one in points if one.segment_size == 1000 and one.tokens == 64_000)
    work = head
    for size, times in ((1000, 64), (260, 1)):
        read = 12 * 2 * 768**2 * (11 * size + 3)
        keys = 2 * 2 * 768**2 * (size - 3)
        read += keys + 4 * 768 * (11 * size * 1001 * size // 2000 + 3 * size)
        work += times * read
    assert done_share(long, "cudnn") * flops_of(long) == pytest.approx(work, rel=1e-9)
