"""Points shared out among workers, on one host or several, by files alone.

A folder beside the records has a file for each worker that took a point, ``POINT.1.claim``,
``POINT.2.claim`` and so on, and one for each record, ``POINT.record``. Each of them comes to be by
a hard link to a file that is whole already: of all that try one succeeds, on a network file system
too, and no lock is relied upon. The claim with the highest number counts. Who finds its holder
dead, or its time over, takes the next number; two cannot both get it. A record that is there is
never replaced: of a worker that was thought dead and its successor the first to finish counts.

Times are those of the file system, so that the clocks of hosts need not agree.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from rmtscale.errors import BadInput
from rmtscale.limits import MOST_RECORDS_BYTES
from rmtscale.readers import load_json, no_such_file, read_text

_CLAIM = re.compile(r"([0-9a-f]{24})\.(\d+)\.claim")
_FINISH = "finish"
_DEAD_STATES = "ZX"


class Finished(Exception):
    """Another worker has put all records into their file, and the folder is gone."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A point that this process has taken."""

    name: str
    number: int


class Claims:
    """The claims and records of one sweep.

    Args:
        folder: of the claims; see ``folder_of``.
        lease_seconds: how long a worker may take for a point. Its claim is over then, and at once
            where its process is seen to have ended.
    """

    def __init__(self, folder: Path, lease_seconds: float) -> None:
        self.folder, self.lease_seconds = folder, lease_seconds
        self._behind_seconds: float | None = None

    def open(self) -> None:
        """Makes the folder, if no other worker has.

        Raises:
            BadInput: the system refuses to.
        """
        with _refusals(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def take(self, key: str) -> Claim | None:
        """Takes a point; None where it is done or another worker has it.

        Raises:
            Finished: the folder is gone.
        """
        name = _name(key)
        if (self.folder / f"{name}.record").exists():
            return None
        number = self._highest(name)
        if number and self._holds(self.folder / f"{name}.{number}.claim"):
            return None
        host, process = _this_process()
        about = {"host": host, "process": process, "lease_seconds": self.lease_seconds, "key": key}
        path = self.folder / f"{name}.{number + 1}.claim"
        return Claim(name, number + 1) if self._link(path, json.dumps(about)) else None

    def commit(self, claim: Claim, line: str) -> bool:
        """Hands in the record of a point; False where another worker was first.

        Raises:
            Finished: the folder is gone.
        """
        return self._link(self.folder / f"{claim.name}.record", line)

    def records(self) -> list[str]:
        """Returns the lines that were handed in.

        Raises:
            Finished: the folder is gone.
        """
        lines = []
        with self._there():
            for path in sorted(self.folder.glob("*.record")):
                lines.append(read_text(path, f"record {str(path)!r}", MOST_RECORDS_BYTES))
            if not self.folder.is_dir():
                raise FileNotFoundError
        return lines

    def finish(self, write: Callable[[list[str]], None]) -> bool:
        """Lets one worker write all records into their file, and removes the folder.

        Args:
            write: puts lines into the file, each once however often it is called.

        Returns:
            Whether it was this one; False where another one is at it.

        Raises:
            Finished: the folder is gone.
        """
        if self.take(_FINISH) is None:
            return False
        write(self.records())
        gone = self.folder.with_name(f"{self.folder.name}.{uuid4().hex}")
        with self._there():
            self.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def _highest(self, name: str) -> int:
        with self._there():
            found = map(_CLAIM.fullmatch, os.listdir(self.folder))
            return max((int(one[2]) for one in found if one and one[1] == name), default=0)

    def _holds(self, path: Path) -> bool:
        """Whether the worker of a claim may still be at its point."""
        with self._there():
            about = load_json(read_text(path, f"claim {str(path)!r}", MOST_RECORDS_BYTES))
            host = _this_process()[0]
            try:
                if about["host"] == host and not _runs(about["process"]):
                    return False
                lease = float(about["lease_seconds"])
            except (KeyError, TypeError, ValueError) as error:
                raise BadInput(f"claim {str(path)!r}: expected one of rmtscale profile") from error
            return self._now() - path.stat().st_mtime <= lease

    def _now(self) -> float:
        """The time of the file system, which this host's clock is held against once."""
        if self._behind_seconds is None:
            path = self.folder / f".{uuid4().hex}"
            with _refusals(self.folder):
                path.write_bytes(b"")
                try:
                    self._behind_seconds = path.stat().st_mtime - time.monotonic()
                finally:
                    path.unlink(missing_ok=True)
        return time.monotonic() + self._behind_seconds

    def _link(self, path: Path, content: str) -> bool:
        """Makes a file with this content; False where there is one."""
        whole = self.folder / f".{uuid4().hex}"
        with self._there(), _refusals(self.folder):
            with whole.open("w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(whole, path)
                return True
            except FileExistsError:
                # A network file system may have done it and lost the answer.
                return whole.stat().st_nlink > 1
            finally:
                whole.unlink(missing_ok=True)

    @contextmanager
    def _there(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, BadInput) as error:
            gone = isinstance(error, FileNotFoundError) or no_such_file(error)
            if self.folder.is_dir() or not gone:
                raise
            raise Finished from error


def folder_of(records: Path) -> Path:
    """Returns the folder of the claims on the points of a file of records."""
    # Not ``with_name``, which refuses ``.``: that is said where records are written.
    return records.parent / f"{records.name}.claims"


def wait(seconds: float) -> None:
    """Waits a little, each worker differently long, so that they do not all look at once."""
    time.sleep(seconds * (0.5 + int.from_bytes(os.urandom(2)) / 2**16))


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:24]


def _this_process() -> tuple[str, str]:
    """This host as processes are numbered on it, and this process."""
    words = [socket.gethostname()]
    with suppress(OSError):
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        words.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(words), f"{os.getpid()} {_begun(os.getpid())}"


def _runs(process: str) -> bool:
    """Whether a process of this host runs; where that cannot be seen, it is taken to."""
    if not Path("/proc/self/stat").exists():
        return True
    number, begun = process.split(" ")
    return _begun(int(number)) == begun


def _begun(number: int) -> str:
    """When a process began, in ticks of its host; empty where it is not there or has ended."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in _DEAD_STATES else fields[18]


@contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadInput(f"claims {str(folder)!r}: cannot be written ({error.strerror})") from error
