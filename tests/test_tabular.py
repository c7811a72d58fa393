"""CSV and Markdown: what a reader gets back is what was written."""

from __future__ import annotations

import csv
import io

from rmtscale.tabular import csv_text, markdown_table


def test_csv_reads_back() -> None:
    rows: list[dict[str, object]] = [{"a": "x, y", "b": 1}, {"a": 'say "z"', "c": None, "b": 0.5}]
    text = csv_text(rows)
    assert text.splitlines()[0] == "a,b,c"
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"a": "x, y", "b": "1", "c": ""},
        {"a": 'say "z"', "b": "0.5", "c": ""},
    ]
    assert text.endswith("\n")
    assert "\r" not in text


def test_csv_without_rows_has_a_header() -> None:
    assert csv_text([], ("a", "b")) == "a,b\n"


def test_markdown() -> None:
    table = markdown_table(("name", "value"), [("a|b", "1"), ("c\nd", "<i>")])
    assert table == "| name | value |\n|---|---|\n| a\\|b | 1 |\n| c d | &lt;i> |"
