"""Shows how far a loop is that takes over two seconds, and the time left; on standard error.

On a terminal it is a bar that goes away; elsewhere a line every ten seconds.
"""

from __future__ import annotations

import sys
from time import monotonic
from typing import Any

from rmtscale.cli.output import write_note
from rmtscale.units import format_percent, format_seconds

AFTER_SECONDS = 2.0
EVERY_SECONDS = 10.0


class Waiting:
    """Told of every loop; says nothing of those that are quick."""

    def __init__(self) -> None:
        self._what = ""
        self._begun = self._said = 0.0
        self._bar: Any = None
        self._task: Any = None

    def begin(self, what: str) -> None:
        """Notes when a loop begins."""
        self._what = what
        self._begun = monotonic()
        self._said = self._begun + AFTER_SECONDS - EVERY_SECONDS

    def moved(self, share: float) -> None:
        """Shows how far it is, where it has taken long and is not about to end."""
        now = monotonic()
        took = now - self._begun
        if took < AFTER_SECONDS or not 0 < share < 1:
            return
        left = took * (1 - share) / share
        if sys.stderr.isatty():
            self._draw(share, left)
        elif now - self._said >= EVERY_SECONDS:
            self._said = now
            write_note(f"{self._what}: {format_percent(share)}, {_left(left)}")

    def end(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, share: float, left: float) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:.0f} %, {task.fields[left]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(
                self._what, total=1.0, completed=share, left=_left(left)
            )
            self._bar.start()
        self._bar.update(self._task, completed=share, left=_left(left))


def _left(seconds: float) -> str:
    return f"about {format_seconds(seconds, digits=2)} left"
