"""How commands print: tables for people; JSON and CSV with plain numbers and units in the key.

Whatever is printed passes here, and nothing in it moves a cursor or turns text around.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rmtscale.printable import printable
from rmtscale.tabular import csv_text, flat_row
from rmtscale.units import require_one_of

if TYPE_CHECKING:
    from rmtscale.costs.breakdown import Breakdown

SCHEMA_VERSION = 1
FORMATS = ("table", "json", "csv")
Row = dict[str, Any]


def require_format(value: str) -> None:
    require_one_of("format", value, FORMATS)


def write_rows(rows: Sequence[Row], output_format: str) -> None:
    """Rows as JSON or CSV on standard output."""
    if output_format == "json":
        write_line(json.dumps({"schema_version": SCHEMA_VERSION, "rows": list(rows)}, indent=2))
        return
    write_plain(csv_text(map(flat_row, rows)))


def write_line(text: str = "") -> None:
    write_plain(f"{text}\n")


def write_plain(text: str) -> None:
    """Writes text of several lines as it is."""
    sys.stdout.write(printable(text))


def write_note(text: str) -> None:
    """Writes a line on standard error, at once: a note, a warning, how far it is."""
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()


def write_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    text_columns: int = 0,
    bars: Sequence[int] = (),
    prose: Sequence[int] = (),
) -> None:
    """Writes a table for people; the first ``text_columns`` are words, the others numbers.

    ``bars`` are the places of columns of bars, which begin at the left, and ``prose`` of those
    whose words may take several lines.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        words = index < text_columns or index in bars
        side: Any = "left" if words or index in prose else "right"
        table.add_column(column, justify=side, no_wrap=words)
    for row in rows:
        table.add_row(*map(printable, row))
    Console(highlight=False, markup=False, emoji=False).print("", table, "", sep="\n")


def write_text(text: str) -> None:
    """Writes a paragraph, wrapped to the terminal."""
    from rich.console import Console

    Console(highlight=False, markup=False, emoji=False, soft_wrap=False).print(printable(text))


def write_breakdowns(
    title: str, breakdowns: dict[str, Breakdown], show: Callable[[int], str]
) -> None:
    """Terms of several breakdowns side by side, and the check that they sum to the total."""
    amounts = {column: breakdown.by_name() for column, breakdown in breakdowns.items()}
    names = list(dict.fromkeys(name for terms in amounts.values() for name in terms))
    rows = [
        [name, *(show(terms[name]) if name in terms else "" for terms in amounts.values())]
        for name in names
    ]
    rows.append(["sum", *(show(sum(terms.values())) for terms in amounts.values())])
    write_line()
    write_text(title)
    write_table(["term", *breakdowns], rows, text_columns=1)
