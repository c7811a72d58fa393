"""Records in a file: JSON lines, only ever appended, readable whatever happened while writing.

A line is written with one call under an advisory lock and flushed to the disk. A line that was
torn (power, a full disk) stays where it is, is closed by a newline before the next is appended,
and is skipped and counted when the file is read.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rmtscale.errors import BadInput
from rmtscale.records.mapping import Misfit
from rmtscale.records.record import Record, parse_line


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file holds."""

    records: tuple[Record, ...]
    """In the order they were written."""
    damaged_lines: tuple[int, ...] = ()
    """Numbers, from 1, of lines that are no records."""
    torn: bool = False
    """The last line has no end; it is skipped (and not counted among the damaged)."""

    def latest(self) -> dict[str, Record]:
        """By the key of their point, each point's last record: a later one takes its place."""
        return {record.point.key: record for record in self.records}

    def warnings(self) -> list[str]:
        """One line for each kind of thing that was skipped."""
        return skipped(self.damaged_lines, self.torn)


def skipped(damaged_lines: Sequence[int], torn: bool) -> list[str]:
    """What was left out of a file, in words: one line for each kind of thing."""
    said = []
    if damaged_lines:
        said.append(f"skipped {len(damaged_lines)} damaged lines, the first is {damaged_lines[0]}")
    if torn:
        said.append("skipped 1 torn line at the end")
    return said


R = TypeVar("R")


def read_lines(
    path: Path, parse: Callable[[str], R]
) -> tuple[tuple[R, ...], tuple[int, ...], bool]:
    """Records of a file, the numbers of damaged lines, and whether the last line is torn.

    Args:
        path: a file that is not there has no records.
        parse: a line's record; raises ``Misfit`` for a damaged one.

    Raises:
        BadInput: cannot be opened, or holds records of another schema version.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return (), (), False
    except OSError as error:
        raise BadInput(f"records {str(path)!r}: {error.strerror}") from error
    *lines, rest = data.split(b"\n")
    records, damaged = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records.append(parse(line.decode("utf-8")))
        except (Misfit, UnicodeDecodeError):
            damaged.append(number)
        except BadInput as error:
            raise BadInput(f"records {str(path)!r}, line {number}: {error}") from error
    return tuple(records), tuple(damaged), bool(rest.strip())


def append_line(path: Path, text: str) -> None:
    """Adds one line, on the disk when this returns.

    Raises:
        BadInput: cannot be written (disk full, no permission); the file is as it was before.
    """
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


class RecordStore:
    """One file of records; any number of processes may append to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Reading:
        """Everything that can be read; a file that is not there has no records.

        Raises:
            BadInput: cannot be opened, or holds records of another schema version.
        """
        return Reading(*read_lines(self.path, parse_line))

    def append(self, record: Record) -> None:
        """Adds one line, on the disk when this returns.

        Raises:
            BadInput: cannot be written (disk full, no permission); the file is as it was before.
        """
        append_line(self.path, record.to_line())
