"""How commands print: tables for people; JSON and CSV with plain numbers and units in the key.

Whatever is printed passes here, and nothing in it moves a cursor or turns text around.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from rmtscale.printable import printable
from rmtscale.tabular import csv_text, flat_row
from rmtscale.units import require_one_of

if TYPE_CHECKING:
    from rmtscale.costs.breakdown import Breakdown

SCHEMA_VERSION = 1
FORMATS = ("table", "json", "csv")
Row = dict[str, Any]
_GAP = 3
"""Characters between two columns of a table."""
_FOLDED = 12
"""Characters that a name has beside each other at least, where it is folded."""


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

    Nothing is left out where the terminal is narrow: first what is several words takes several
    lines, then long names are folded, and what is wider even so is wider than the terminal.

    ``bars`` are the places of columns of bars, which begin at the left, and ``prose`` of those
    whose words may take several lines.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    cells = [list(map(printable, row)) for row in rows]
    named = [place for place in range(text_columns) if place not in prose]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    widths = _widths(columns, cells, console.width, named, bars)
    for place, (column, width) in enumerate(zip(columns, widths, strict=True)):
        left = place < text_columns or place in bars or place in prose
        table.add_column(column, justify="left" if left else "right", width=width, overflow="fold")
    for row in cells:
        table.add_row(*row)
    console.width = max(console.width, sum(widths) + _GAP * (len(widths) - 1))
    console.print("", table, "", sep="\n")


def _widths(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    most: int,
    named: Collection[int],
    bars: Collection[int],
) -> list[int]:
    """How wide each column is: as what stands in it where there is room, the widest narrowed first.

    Args:
        most: how wide the table may be, unless its words and numbers alone are wider.
        named: places of columns that are folded last.
        bars: places of columns that are never narrowed.
    """
    from rich.cells import cell_len

    texts = [[column, *(row[place] for row in rows)] for place, column in enumerate(columns)]
    widths = [max(map(cell_len, column)) for column in texts]
    words = [
        max((cell_len(part) for text in column for part in text.split()), default=0)
        for column in texts
    ]
    whole = {*named, *bars}
    least = [widths[place] if place in whole else words[place] for place in range(len(widths))]
    folded = [
        min(least[place], _FOLDED) if place in named else least[place]
        for place in range(len(widths))
    ]
    room = most - _GAP * (len(widths) - 1)
    for ends in (least, folded):
        while sum(widths) > room and widths != ends:
            over = [place for place in range(len(widths)) if widths[place] > ends[place]]
            widths[max(over, key=widths.__getitem__)] -= 1
    return widths


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
