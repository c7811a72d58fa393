"""Tables of plain rows: the only CSV writer, the only Markdown table, and frames of pandas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def csv_text(rows: Iterable[Mapping[str, object]], columns: Sequence[str] | None = None) -> str:
    """Returns rows as CSV with a header line; commas and quotes in a cell are quoted.

    Args:
        rows: cells by column name. A cell that is None or missing is left empty.
        columns: the header; by default every key, in the order of first appearance.
    """
    rows = list(rows)
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_frame(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Returns rows as a frame of pandas, a column for each key; imports pandas only now."""
    import pandas as pd

    return pd.DataFrame.from_records([dict(row) for row in rows])


def flat_row(mapping: Mapping[str, object]) -> dict[str, object]:
    """Returns nested mappings as one row: ``{"a": {"b": 1}}`` becomes ``{"a.b": 1}``."""
    row: dict[str, object] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            row |= {f"{key}.{name}": item for name, item in flat_row(value).items()}
        else:
            row[key] = value
    return row


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table; what would end a cell or open a tag in it is escaped."""
    lines = [_line(columns), "|" + "---|" * len(columns)]
    lines += [_line([_escaped(cell) for cell in row]) for row in rows]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())
