"""Records with and without a dead band of the memory: the paper's RMT has none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class _Point(Protocol):
    @property
    def dead_band(self) -> float: ...


class _Record(Protocol):
    @property
    def point(self) -> _Point: ...


R = TypeVar("R", bound=_Record)


def plain(records: Iterable[R]) -> list[R]:
    """Returns the records of the paper's RMT, without a dead band: no figure mixes the two."""
    return [record for record in records if not record.point.dead_band]
