"""Files of evaluations, of answers or of language: one record a line, appended to by anyone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from rmtscale.errors import BadInput
from rmtscale.files import write_whole
from rmtscale.records.mapping import Misfit, from_mapping, to_mapping
from rmtscale.records.store import append_line, read_lines, skipped


class _Point(Protocol):
    @property
    def key(self) -> str: ...

    @property
    def dead_band(self) -> float: ...


class _Record(Protocol):
    @property
    def point(self) -> _Point: ...

    def to_line(self) -> str: ...


Record = TypeVar("Record", bound=_Record)


def line_of(record: object) -> str:
    """One line of JSON, without its end.

    A dead band of 0, the paper's RMT, is left out: such a record is the same line that it was
    before there were dead bands.
    """
    mapping = to_mapping(record)
    if not mapping["point"]["dead_band"]:
        del mapping["point"]["dead_band"]
    return json.dumps(mapping, separators=(",", ":"), allow_nan=False)


def plain(records: Iterable[Record]) -> list[Record]:
    """Those of the paper's RMT, without a dead band: no figure of it mixes the two."""
    return [record for record in records if not record.point.dead_band]


class LinesOf(Generic[Record]):
    """One file of records of one kind, which a subclass names; any number of processes may append.

    Args:
        path: of the file; it need not be there.
        anew: what is in it does not count, and is gone when the first record is added.
    """

    kind: ClassVar[type[Any]]
    version: ClassVar[int]

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self.path, self._anew = path, anew

    def read(self) -> tuple[Record, ...]:
        """All records, in the order they were written; damaged lines are left out.

        Raises:
            BadInput: cannot be opened, or of another schema version.
        """
        return () if self._anew else read_lines(self.path, self._parse)[0]

    def warnings(self) -> list[str]:
        """What ``read`` leaves out, one line for each kind of thing."""
        _, damaged_lines, torn = read_lines(self.path, self._parse)
        return skipped(damaged_lines, torn)

    def latest(self) -> dict[str, Record]:
        """By key; a later record takes the place of an earlier one."""
        return {record.point.key: record for record in self.read()}

    def append(self, record: Record) -> None:
        """Adds one line, on the disk when this returns."""
        if self._anew:
            write_whole(self.path, f"{record.to_line()}\n")
            self._anew = False
            return
        append_line(self.path, record.to_line())

    def _parse(self, line: str) -> Record:
        try:
            mapping: object = json.loads(line)
        except ValueError as error:
            raise Misfit("not JSON") from error
        if not isinstance(mapping, Mapping) or "schema_version" not in mapping:
            raise Misfit("not a record")
        if mapping["schema_version"] != self.version:
            raise BadInput(f"schema version {mapping['schema_version']!r}: expected {self.version}")
        found: Record = from_mapping(self.kind, mapping)
        return found
