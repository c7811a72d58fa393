"""One writer at a time: a lock lasts as long as its holder, however that ends.

A lock is a file that its holder keeps open under ``flock`` and that names the holder's process: the
kernel lets go of it when the process ends, so one that was killed locks nothing.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rmtscale.errors import BadInput

_HELD = "RMTSCALE_HELD"
"""Locks that a process holds, a line each: ``PID PATH``. Its children work in its name."""
_PLACE = "RMTSCALE_LOCKS"
_PID_BYTES, _AGAIN_SECONDS = 20, 0.01


@contextmanager
def sole_writer(path: Path, name: str) -> Iterator[None]:
    """Holds a file, or a folder that is there or made, for this process and those it starts.

    Args:
        path: the file. Its lock lies beside it, that of a folder in it.
        name: the thing in messages, such as "folder 'x'".

    Raises:
        BadInput: another process holds it, or the lock cannot be made.
    """
    # Not ``with_name``, which refuses ``.``: that is said where it is opened.
    lock = path.parent / f".{path.name}.lock"
    with _holding(Path(os.path.realpath(lock)), name):
        yield


@contextmanager
def sole_writer_in(folder: Path, name: str) -> Iterator[None]:
    """Holds a folder as ``sole_writer`` a file; one made for it that stays empty is removed."""
    with _holding(Path(os.path.realpath(folder)) / ".lock", name):
        yield


@contextmanager
def sole_user(device: str, *, patient: bool = False) -> Iterator[None]:
    """Holds a device of this machine for measuring; two that measure disturb each other.

    The locks of devices lie in the folder ``RMTSCALE_LOCKS``, by default that of temporary files.

    Args:
        device: ``cpu`` or ``cuda``, which is the first GPU that this process sees.
        patient: waits until another process of this user is done with it.

    Raises:
        BadInput: another process of this user measures on it.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] if device == "cuda" else ""
    one = re.sub(r"[^\w-]", "", f"{device}{visible}")
    place = Path(os.environ.get(_PLACE) or tempfile.gettempdir())
    with _holding(place / f"rmtscale-{os.getuid()}-{one}.lock", f"device {device!r}", patient):
        yield


@contextmanager
def _holding(lock: Path, name: str, patient: bool = False) -> Iterator[None]:
    before = os.environ.get(_HELD, "")
    if f"{os.getppid()} {lock}" in before.splitlines():
        yield
        return
    made = [parent for parent in lock.parents if not parent.exists()]
    try:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = _take(lock, name, patient)
        except OSError as error:
            raise BadInput(f"{name}: cannot be written ({error.strerror})") from error
        os.environ[_HELD] = f"{before}\n{os.getpid()} {lock}"
        try:
            yield
        finally:
            os.environ[_HELD] = before
            _let_go(lock, file)
    finally:
        for folder in made:
            with suppress(OSError):  # something is in it
                folder.rmdir()


def _take(lock: Path, name: str, patient: bool) -> int:
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            if not _locked(file):
                holder = os.pread(file, _PID_BYTES, 0).decode(errors="replace")
                if holder and not patient:
                    raise BadInput(
                        f"{name} is in use by process {holder}: expected it to end first"
                    )
            elif _is_at(file, lock):
                _name(lock, file)
                return file
        except BaseException:
            os.close(file)
            raise
        # Its holder has not named itself yet, or has just removed what was opened here.
        os.close(file)
        time.sleep(_AGAIN_SECONDS)


def _name(lock: Path, file: int) -> None:
    """Writes this process into its lock."""
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
    except OSError:
        lock.unlink()
        raise


def _let_go(lock: Path, file: int) -> None:
    with suppress(OSError):
        lock.unlink(missing_ok=True)
    os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that has no locks
        pass
    return True


def _is_at(file: int, lock: Path) -> bool:
    try:
        there = lock.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(file), there)
