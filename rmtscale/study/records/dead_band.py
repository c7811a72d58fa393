"""Records with and without a dead band of the memory: the paper's RMT has none."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Protocol, TypeVar

from rmtscale.records.mapping import to_mapping


class _Point(Protocol):
    @property
    def dead_band(self) -> float: ...


class _Record(Protocol):
    @property
    def point(self) -> _Point: ...


R = TypeVar("R", bound=_Record)


def line_of(record: object) -> str:
    """Returns one line of JSON, without its end.

    A dead band of 0, the paper's RMT, is left out, and so are a number of processes of 1 and the
    state of a GPU during a step, where nobody looked: such a record is the same line that it was
    before there were these fields.
    """
    mapping = to_mapping(record)
    if not mapping["point"]["dead_band"]:
        del mapping["point"]["dead_band"]
    if mapping.get("processes") == 1:
        del mapping["processes"]
    if mapping["environment"].get("during", "") is None:
        del mapping["environment"]["during"]
    return json.dumps(mapping, separators=(",", ":"), allow_nan=False)


def plain(records: Iterable[R]) -> list[R]:
    """Returns the records of the paper's RMT, without a dead band: no figure mixes the two."""
    return [record for record in records if not record.point.dead_band]
