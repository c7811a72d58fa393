"""A signal to one of several processes stops all of them behind the same interval, with a state.

Each of them waits for the others in every step: one that left at once would have the others wait,
or be killed, and what was trained since the last state would be lost.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_TAKEN = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stop:
    """Notes the signal that asks for an end."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None

    def note(self, number: int, _: FrameType | None) -> None:
        """Takes a signal; the loop looks for it behind every interval."""
        self.asked = signal.Signals(number)


@contextmanager
def noted_signals(several: bool) -> Iterator[Stop]:
    """Notes SIGTERM and SIGHUP, where there are several processes, and raises them again behind.

    Args:
        several: whether there are; one alone ends at once, as its caller wants it.
    """
    stop = Stop()
    before = {}
    try:
        for number in _TAKEN if several else ():
            before[number] = signal.signal(number, stop.note)
    except ValueError:  # not the main thread, which alone is told of signals
        pass
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stop.asked is not None:
        signal.raise_signal(stop.asked)
