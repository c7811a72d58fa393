"""One writer at a time: a lock lasts as long as its holder, however that ends.

A lock is a file that its holder keeps open under ``flock`` and that names the holder's process: the
kernel lets go of it when the process ends, so one that was killed locks nothing.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rmtscale.errors import BadInput

FOLDER_LOCK = ".rmtscale.lock"
"""The lock of a folder, which lies in it: anybody may have a file ``.lock`` there."""
_HELD = "RMTSCALE_HELD"
"""Locks that a process holds, a line each: ``PID PATH``. Its children work in its name."""
_PLACE = "RMTSCALE_LOCKS"
_PID_BYTES, _AGAIN_SECONDS = 20, 0.01
_USES = itertools.count()


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
    with _holding(Path(os.path.realpath(folder)) / FOLDER_LOCK, name):
        yield


@contextmanager
def sole_user(device: str, number: int = 0, *, patient: bool = False) -> Iterator[None]:
    """Holds a device of this machine for measuring, which whatever else works on it disturbs.

    The locks of devices lie in the folder ``RMTSCALE_LOCKS``, by default that of temporary files.

    Args:
        device: ``cpu`` or ``cuda``.
        number: of the GPU, among those that this process sees.
        patient: waits until other processes of this user are done with it.

    Raises:
        BadInput: another process of this user measures, trains or evaluates on it.
    """
    lock, name = _of_device(device, number), f"device {device!r}"
    with _holding(lock, name, patient):
        for other in lock.parent.glob(f"{lock.stem}.*.lock"):
            if not _held_above(other):
                _require_free(other, name, patient)
                other.unlink(missing_ok=True)  # of one that was killed
        yield


@contextmanager
def one_user(device: str, number: int = 0) -> Iterator[None]:
    """Holds a device for a training or an evaluation: others may work on it, none may measure.

    Args:
        device, number: as ``sole_user`` takes them.

    Raises:
        BadInput: another process of this user measures on it.
    """
    lock, name = _of_device(device, number), f"device {device!r}"
    # Each looks for the other's lock after it has its own: at most one of them goes on.
    own = lock.with_name(f"{lock.stem}.{os.getpid()}-{next(_USES)}.lock")
    with _holding(own, name):
        _require_free(lock, name)
        yield


def _of_device(device: str, number: int) -> Path:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device == "cuda" else []
    seen = visible[number] if number < len(visible) and visible[number] else str(number)
    one = re.sub(r"[^\w-]", "", f"{device}{seen if device == 'cuda' else ''}")
    place = Path(os.environ.get(_PLACE) or tempfile.gettempdir())
    return place / f"rmtscale-{os.getuid()}-{one}.lock"


def _require_free(lock: Path, name: str, patient: bool = False) -> None:
    """Raises ``BadInput`` where another process holds a lock, or waits for it; takes none."""
    if _held_above(lock):
        return
    try:
        file = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # there is none
        return
    try:
        while not _locked(file, fcntl.LOCK_SH):
            holder = _holder(file)
            if holder and not patient:
                raise _in_use(name, holder)
            time.sleep(_AGAIN_SECONDS)
    finally:
        os.close(file)


def _held_above(lock: Path) -> bool:
    """Whether the process that started this one holds a lock: this one works in its name."""
    return f"{os.getppid()} {lock}" in os.environ.get(_HELD, "").splitlines()


def _holder(file: int) -> str:
    return os.pread(file, _PID_BYTES, 0).decode(errors="replace")


def _in_use(name: str, holder: str) -> BadInput:
    return BadInput(f"{name} is in use by process {holder}: expected it to end first")


@contextmanager
def _holding(lock: Path, name: str, patient: bool = False) -> Iterator[None]:
    before = os.environ.get(_HELD, "")
    if _held_above(lock):
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
                holder = _holder(file)
                if holder and not patient:
                    raise _in_use(name, holder)
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


def _locked(file: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
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
