"""SIGTERM and SIGHUP end a command as a Ctrl-C does: what is done is kept."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rmtscale.processes import ENDING, handled

INTERRUPTED = 128 + signal.SIGINT
"""The exit code that shells give to what a Ctrl-C ended."""


class Interrupts:
    """Notes the signal that ended a command, if one did."""

    def __init__(self) -> None:
        self.taken: signal.Signals | None = None

    @property
    def words(self) -> str:
        """Says how it ended."""
        return "interrupted" if self.taken is None else f"interrupted by {self.taken.name}"

    @property
    def exit_code(self) -> int:
        """The exit code that shells give to what this signal ended."""
        return INTERRUPTED if self.taken is None else 128 + self.taken

    def take(self, number: int, _: FrameType | None) -> None:
        """Raises ``KeyboardInterrupt`` in the place of what the signal does by itself.

        A second one (a shutdown sends both) does not stop the closing that the first began.
        """
        for taken in ENDING:
            signal.signal(taken, signal.SIG_IGN)
        self.taken = signal.Signals(number)
        raise KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Takes the signals meanwhile; one that is ignored (``nohup``) stays ignored."""
    noted = Interrupts()
    usual = (number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL)
    with handled(usual, noted.take):
        yield noted
