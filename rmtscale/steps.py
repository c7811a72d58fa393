"""How far a long loop is: whoever watches is told, and where nobody does nothing happens.

A loop inside of a loop is a share of its step. Loops of other threads are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Protocol, TypeVar

T = TypeVar("T")


class Watcher(Protocol):
    """Someone who is told how far the outermost loop is."""

    def begin(self, what: str) -> None:
        """Takes note that a loop begins; ``what`` it does: ``reading``."""

    def moved(self, share: float) -> None:
        """Takes note of how much is done, from 0 to 1."""

    def end(self) -> None:
        """Takes note that the loop has ended, whatever ended it."""


@dataclass(slots=True, eq=False)
class _Loop:
    total: float
    done: float = 0
    at_hand: float = 0


@dataclass(slots=True)
class _Watch:
    watcher: Watcher
    thread: int
    loops: list[_Loop] = field(default_factory=list)

    def tell(self) -> None:
        share, weight = 0.0, 1.0
        for loop in self.loops:
            share += weight * loop.done / loop.total
            weight *= loop.at_hand / loop.total
        self.watcher.moved(share)


_watches: list[_Watch] = []


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Has a watcher told of the loops that this thread runs inside."""
    _watches.append(_Watch(watcher, get_ident()))
    try:
        yield
    finally:
        _watches.pop()


def steps(
    items: Iterable[T],
    what: str = "",
    *,
    total: int | None = None,
    weigh: Callable[[T], float] | None = None,
) -> Iterator[T]:
    """Yields the items, and tells whoever watches how many are done.

    Args:
        items: what is gone through.
        what: what the loop does, in a word or two; without it, it is only told of inside another.
        total: how many there are; None takes all items first and counts them.
        weigh: returns how much of the work an item is, of all items first; None: all are as much.
    """
    watch = _watches[-1] if _watches and _watches[-1].thread == get_ident() else None
    if watch is None or not (what or watch.loops):
        yield from items
        return
    if weigh is not None or total is None:
        items = list(items)
    weights = [] if weigh is None else [weigh(item) for item in items]
    loop = _Loop(sum(weights) or total or len(weights) or _count(items))
    shares = iter(weights)
    if not watch.loops:
        watch.watcher.begin(what)
    watch.loops.append(loop)
    try:
        for item in items:
            loop.at_hand = weight = next(shares, 1.0)
            yield item
            loop.done, loop.at_hand = loop.done + weight, 0
            watch.tell()
    finally:
        watch.loops.remove(loop)
        if not watch.loops:
            watch.watcher.end()


def _count(items: Iterable[T]) -> int:
    return len(items) if isinstance(items, list) and items else 1
