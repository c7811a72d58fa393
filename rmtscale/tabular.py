"""Tables of plain rows: the only CSV writer, the only Markdown table, and frames of pandas."""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a cell that a spreadsheet computes."""


def csv_text(
    rows: Iterable[Mapping[str, object]],
    columns: Sequence[str] | None = None,
    *,
    spreadsheet: bool = False,
) -> str:
    """Returns rows as CSV with a header line; commas and quotes in a cell are quoted.

    Args:
        rows: cells by column name. A cell that is None or missing is left empty.
        columns: the header; by default every key, in the order of first appearance.
        spreadsheet: text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    rows = list(rows)
    if spreadsheet:
        rows = [{key: _as_text(cell) for key, cell in row.items()} for row in rows]
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _as_text(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


class Printed(ABC):
    """A result that prints as a small table, in a terminal and in a notebook."""

    __slots__ = ()

    @abstractmethod
    def cells(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Returns the columns and the rows, as text; the first column is words."""

    def __str__(self) -> str:
        columns, rows = self.cells()
        table = [list(columns), *(list(row) for row in rows)]
        widths = [max(len(row[place]) for row in table) for place in range(len(columns))]
        lines = [
            "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        ]
        return "\n".join([lines[0], "-" * len(lines[0].ljust(sum(widths))), *lines[1:]])

    def _repr_html_(self) -> str:
        return self.html()

    def html(self) -> str:
        """Returns the table as HTML, which a notebook shows."""
        columns, rows = self.cells()
        head = "".join(f"<th>{escape(column)}</th>" for column in columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


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
