"""Reads a number again and again in a thread of its own and remembers the largest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

INTERVAL_SECONDS = 0.005


class Sampler:
    """``with Sampler(read) as sampler: step()``, then ``sampler.largest``.

    Reads once before, once after and every few milliseconds between; None is no reading.
    """

    def __init__(self, read: Callable[[], int | None], *, threaded: bool = True) -> None:
        self.largest: int | None = None
        self._read = read
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True) if threaded else None

    def _take(self) -> None:
        value = self._read()
        if value is not None:
            self.largest = value if self.largest is None else max(self.largest, value)

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_SECONDS):
            self._take()

    def __enter__(self) -> Sampler:
        self._take()
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if kind is None:
            self._take()
