"""Progress of a sweep: a live table on a terminal, plain lines elsewhere; on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

from rmtscale.cli.output import write_note
from rmtscale.profiler.sweep import Observer
from rmtscale.records.point import Point
from rmtscale.records.record import Record
from rmtscale.report.measured import summary
from rmtscale.units import format_seconds, format_tokens

_SHOWN_ROWS = 12


@contextmanager
def watching() -> Iterator[Observer]:
    """Returns the observer that suits standard error."""
    if not sys.stderr.isatty():
        yield PlainLines()
        return
    with LiveTable() as table:
        yield table


def name(point: Point) -> str:
    again = ", once more" if point.replicate else ""
    return f"{format_tokens(point.tokens)} tokens{again}, {point.title()}"


class Clock:
    """An estimate of the time left: what a point took so far, times the points left."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self._start = monotonic()

    def begin(self, total: int) -> None:
        self.total, self._start = total, monotonic()

    def left(self) -> str:
        if not self.done or self.done >= self.total:
            return ""
        each = (monotonic() - self._start) / self.done
        return f"about {format_seconds(each * (self.total - self.done), digits=2)} left"


class PlainLines:
    """A line for each point."""

    def __init__(self) -> None:
        self.clock = Clock()

    def begin(self, todo: Sequence[Point], done: int) -> None:
        self.clock.begin(len(todo))
        if done:
            self._say(f"{done} of {done + len(todo)} points are in the file already: going on")

    def point(self, point: Point) -> None:
        pass

    def stage(self, stage: str) -> None:
        pass

    def record(self, record: Record) -> None:
        self.clock.done += 1
        left = self.clock.left()
        self._say(
            f"[{self.clock.done}/{self.clock.total}] {name(record.point)}: {summary(record)}"
            + (f"; {left}" if left else "")
        )

    def _say(self, text: str) -> None:
        write_note(text)


class LiveTable:
    """The last points, the one in hand, a bar and the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self.clock = Clock()
        self._rows: list[tuple[str, str]] = []
        self._point = self._stage = ""
        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def begin(self, todo: Sequence[Point], done: int) -> None:
        self.clock.begin(len(todo))
        if done:
            self._rows.append((f"{done} points are in the file already", "going on"))
        self._show()

    def point(self, point: Point) -> None:
        self._point, self._stage = name(point), "start"
        self._show()

    def stage(self, stage: str) -> None:
        self._stage = stage
        self._show()

    def record(self, record: Record) -> None:
        self.clock.done += 1
        self._rows.append((name(record.point), summary(record)))
        self._point = self._stage = ""
        self._show()

    def _show(self) -> None:
        self._live.update(self.view(), refresh=True)

    def view(self) -> Any:
        """Returns the text on the terminal now."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        rows = Table.grid(padding=(0, 2), expand=True)
        rows.add_column(ratio=3, overflow="ellipsis", no_wrap=True)
        rows.add_column(ratio=2, overflow="ellipsis", no_wrap=True)
        for row in self._rows[-_SHOWN_ROWS:]:
            rows.add_row(*map(Text, row))
        if self._point:
            rows.add_row(Text(self._point, "bold"), Text(self._stage, "bold"))
        line = Text(f"{self.clock.done}/{self.clock.total}  {self.clock.left()}")
        return Group(rows, ProgressBar(max(self.clock.total, 1), self.clock.done), line)
