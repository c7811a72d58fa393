"""Records of the paper's RMT: its memory has neither a dead band nor sink tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class _Point(Protocol):
    @property
    def dead_band(self) -> float: ...


class _Record(Protocol):
    @property
    def point(self) -> _Point: ...

    @property
    def sink_tokens(self) -> int: ...


R = TypeVar("R", bound=_Record)


def plain(records: Iterable[R]) -> list[R]:
    """Returns the records of the paper's RMT, without a dead band: no figure mixes the two."""
    return [record for record in records if not record.point.dead_band]


def without_sink(records: Iterable[R]) -> list[R]:
    """Returns the records of models without sink tokens: a figure of the paper shows no others."""
    return [record for record in records if not record.sink_tokens]
