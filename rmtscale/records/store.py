"""Records in a file: JSON lines, only ever appended, readable whatever happened while writing.

A line is written with one call under an advisory lock and flushed to the disk. A line that was
torn (power, a full disk) stays where it is, is closed by a newline before the next is appended,
and is skipped and counted when the file is read.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from rmtscale.errors import BadInput
from rmtscale.files import require_appendable, write_whole
from rmtscale.limits import MOST_RECORDS_BYTES
from rmtscale.locks import sole_writer
from rmtscale.readers import load_json, no_such_file, read_bytes
from rmtscale.records.mapping import Misfit, from_mapping
from rmtscale.records.record import SCHEMA_VERSION, Record
from rmtscale.steps import steps
from rmtscale.tabular import to_frame

if TYPE_CHECKING:
    import pandas as pd


class Line(Protocol):
    """A line of a store: a frozen dataclass with a ``schema_version``."""

    @property
    def key(self) -> str:
        """Equal for two records of the same thing, of which the later one counts."""
        ...

    def to_line(self) -> str:
        """Returns one line of JSON, without its end."""
        ...

    def to_row(self) -> dict[str, object]:
        """Returns a flat row of a table."""
        ...


R = TypeVar("R", bound=Line)


@dataclass(frozen=True, slots=True)
class Reading(Generic[R]):
    """The content of a file."""

    records: tuple[R, ...] = ()
    """All records, in the order of writing."""
    damaged_lines: tuple[int, ...] = ()
    """Numbers, from 1, of lines that are no records."""
    first_damage: str = ""
    """The error in the first of them."""
    torn: bool = False
    """The last line has no end; it is skipped (and not counted among the damaged)."""

    def latest(self) -> dict[str, R]:
        """Returns records by key; a later record takes the place of an earlier one."""
        return {record.key: record for record in self.records}

    def to_frame(self) -> pd.DataFrame:
        """Returns a frame with a row for each record; ``latest`` is not applied."""
        return to_frame(record.to_row() for record in self.records)

    def warnings(self) -> list[str]:
        """Returns one line for each kind of thing that was skipped."""
        lines = []
        if self.damaged_lines:
            count, first = len(self.damaged_lines), self.damaged_lines[0]
            lines.append(f"skipped {count} damaged lines, the first is {first}")
        if self.torn:
            lines.append("skipped 1 torn line at the end")
        return lines


class Store(Generic[R]):
    """One file of records of one kind, which a subclass names; any number of processes may append.

    Args:
        path: the file; it need not be there.
        anew: what is in the file does not count, and is gone when the first record is added.
    """

    kind: ClassVar[type[Any]]
    version: ClassVar[int]
    what: ClassVar[str] = "records"
    """The content's name in messages."""
    old_names: ClassVar[Mapping[str, str]] = {}
    """Names of today by those that fields had in files of earlier releases."""

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self.path, self._anew = path, anew

    def read(self) -> Reading[R]:
        """Reads all that can be read; a file that is not there has no records.

        Raises:
            BadInput: cannot be opened, or holds records of another schema version.
        """
        if self._anew:
            return Reading()
        named = f"{self.what} {str(self.path)!r}"
        try:
            data = read_bytes(self.path, named, MOST_RECORDS_BYTES, pipes=True)
        except BadInput as error:
            if no_such_file(error):
                return Reading()
            raise
        *lines, rest = data.split(b"\n")
        records: list[R] = []
        damage: dict[int, str] = {}
        for number, line in enumerate(steps(lines, total=len(lines)), 1):
            if not line.strip():
                continue
            try:
                records.append(self.parse_line(line.decode("utf-8")))
            except (Misfit, UnicodeDecodeError) as error:
                damage[number] = str(error)
            except BadInput as error:
                raise BadInput(f"{named}, line {number}: {error}") from error
        first_damage = next(iter(damage.values()), "")
        return Reading(tuple(records), tuple(damage), first_damage, bool(rest.strip()))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the file for this process and those it starts, before the work on its records.

        Raises:
            BadInput: another process holds it, or it cannot be written.
        """
        with sole_writer(self.path, f"{self.what} {str(self.path)!r}"):
            require_appendable(self.path)
            yield

    def append(self, record: R) -> None:
        """Adds one line, on the disk when this returns.

        Raises:
            BadInput: cannot be written (disk full, no permission); the file is as it was before.
        """
        if self._anew:
            self.rewrite([record])
            self._anew = False
        else:
            _append_line(self.path, record.to_line())

    def rewrite(self, records: Iterable[R]) -> None:
        """Puts these records in the place of the whole file."""
        write_whole(self.path, "".join(f"{record.to_line()}\n" for record in records))

    @classmethod
    def parse_line(cls, line: str) -> R:
        """Returns the record of one line.

        Raises:
            BadInput: another schema version, or a number that no measurement can have.
            Misfit: damaged: no JSON, or not a record.
        """
        try:
            mapping: Any = load_json(line, finite=False)
        except ValueError as error:
            raise Misfit("not JSON") from error
        if not isinstance(mapping, dict) or "schema_version" not in mapping:
            raise Misfit("not a record")
        version = mapping["schema_version"]
        if version != cls.version:
            raise BadInput(f"schema version {version!r}: expected {cls.version}")
        values = {cls.old_names.get(name, name): value for name, value in mapping.items()}
        record: R = from_mapping(cls.kind, values, measured=True)
        return record


class RecordStore(Store[Record]):
    """One file of measured points."""

    kind, version = Record, SCHEMA_VERSION


def _append_line(path: Path, text: str) -> None:
    line = text.encode("utf-8") + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        raise _refused(path, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            line = b"\n" + line
        try:
            if os.write(file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, size)
            raise
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        os.close(file)  # the lock goes with it


def _refused(path: Path, error: OSError) -> BadInput:
    return BadInput(
        f"output {str(path)!r}: cannot be written ({error.strerror}); what was recorded "
        "before is kept"
    )
