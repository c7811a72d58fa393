"""Files are written whole or not at all, and never over another without being told to.

What is written lies beside its place until it is whole, in a folder ``.NAME.*.part`` that its
writer has locked. The part of a writer that was killed is found unlocked, and removed by the next
one that writes NAME.
"""

from __future__ import annotations

import ctypes
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rmtscale.errors import BadInput

_PROBE_BYTES = 4096
_PREFIX_LETTERS = 40
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def require_writable(paths: Sequence[Path], *, force: bool) -> None:
    """Checks, before any work, that files can be written; removes parts that killed writers left.

    Raises:
        BadInput: a file is there and ``force`` does not let it go, it is no plain file, a folder's
            name is taken by a file, or the system refuses to write there.
    """
    probed: set[Path] = set()
    for path in paths:
        with _refusals(path):
            _remove_parts_of(path)
            _remove_parts_of(path.parent)
            whole = path.absolute()
            parent = next(parent for parent in (*whole.parents, whole) if parent.exists())
            if not parent.is_dir():
                raise BadInput(f"output {str(path)!r}: {str(parent)!r} is not a folder")
            if path.exists():
                if not path.is_file():
                    raise BadInput(f"output {str(path)!r}: is no plain file, expected one")
                if not force:
                    raise BadInput(
                        f"output {str(path)!r}: exists already, expected --force to overwrite"
                    )
            if parent not in probed:
                with tempfile.TemporaryFile(dir=parent) as file:
                    file.write(bytes(_PROBE_BYTES))
            probed.add(parent)


def require_appendable(path: Path) -> None:
    """Checks that lines can be added to a file, which need not be there.

    Raises:
        BadInput: it is no plain file, or the system refuses.
    """
    require_writable([path], force=True)
    with _refusals(path):
        if path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND))


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes a file through a part beside it and a rename.

    Raises:
        BadInput: the system refuses (no permission, disk full); nothing is left behind.
    """
    with whole_file(path) as part:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields where to write a file, which takes its place at the end.

    Raises:
        BadInput: the system refuses (no permission, disk full); nothing is left behind.
    """
    with _beside(path) as part:
        yield part
        _to_disk(part)
        part.replace(path)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder to write into, which takes its place at the end.

    Where another process made ``folder`` meanwhile, that one stays: for content that is the same
    whoever writes it.

    Raises:
        BadInput: the system refuses (no permission, disk full); nothing is left behind.
    """
    with _beside(folder) as part:
        part.mkdir()
        yield part
        _to_disk(part)
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


@contextmanager
def replaced_folder(folder: Path, dropped: Container[str] = ()) -> Iterator[Path]:
    """Yields an empty folder to write into, which takes the place of ``folder`` in one step.

    Files that only the old one has are kept, but for those whose paths in it are ``dropped``.

    Raises:
        BadInput: the system refuses (no permission, disk full); the old folder is as it was.
    """
    place = Path(os.path.realpath(folder))
    with _beside(place) as part:
        part.mkdir()
        yield part
        _to_disk(part)
        if place.is_dir():
            _keep(place, part, dropped)
            _exchange(part, place)
        else:
            part.rename(place)


def remove_leavings(folder: Path, names: Iterable[str]) -> None:
    """Removes what killed processes left of these files and folders: parts, and locks.

    Nothing of any other name is touched, and no folder in it is looked into.

    Args:
        folder: may be anybody's.
        names: of what is written there; ``*`` where nobody else writes, and ``rmtscale`` for
            the lock of the folder itself.
    """
    for name in names:
        for kind in (f".{name}.*.part", f".{name}.lock"):
            for left in list(folder.glob(kind)):
                _remove_unlocked(left)


def remove_folder(folder: Path) -> None:
    """Removes a folder in one step, where it is there.

    Raises:
        BadInput: the system refuses.
    """
    if folder.is_dir():
        with _beside(folder) as part:
            folder.rename(part)


def make_folder(folder: Path) -> None:
    """Makes the folder and those above it, where they are not there.

    Raises:
        BadInput: a file is in the way, or the system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"folder {str(folder)!r}: cannot be made ({error.strerror}), expected another place"
        ) from error


def write_all(folder: Path, contents: Mapping[str, bytes | str | None], *, force: bool) -> None:
    """Writes files by name into a folder, all of them or none.

    A file whose content is None has nothing to show this time: one of an earlier run is removed.
    A folder that cannot be moved (somebody stands in it, or a disk is mounted there) gets the files
    one after another, in their order.

    Raises:
        BadInput: a file is there already and ``force`` is not set, or cannot be written.
    """
    require_writable([folder / name for name in contents], force=force)
    dropped = [name for name, content in contents.items() if content is None]
    written = {name: content for name, content in contents.items() if content is not None}
    if folder.is_dir() and not _may_move(folder):
        for name, content in written.items():
            write_whole(folder / name, content)
        for name in dropped:
            (folder / name).unlink(missing_ok=True)
        return
    with replaced_folder(folder, dropped) as part:
        for name, content in written.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            data = content.encode("utf-8") if isinstance(content, str) else content
            (part / name).write_bytes(data)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Makes one line of what the system says."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise BadInput(f"output {str(path)!r}: cannot be written ({reason})") from error


@contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """Yields a path on the same disk that nothing is at, removed at the end if something is."""
    with _refusals(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_parts_of(place)
        holder, lock = _locked_folder(place.parent, _start_of_parts(place))
        try:
            yield holder / place.name
        finally:
            shutil.rmtree(holder, ignore_errors=True)
            os.close(lock)


def _locked_folder(parent: Path, start: str) -> tuple[Path, int]:
    while True:
        holder = Path(tempfile.mkdtemp(dir=parent, prefix=start, suffix=".part"))
        with suppress(FileNotFoundError):  # taken for one left behind, before it was locked
            lock = os.open(holder, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            if holder.is_dir():
                return holder, lock
            os.close(lock)


def _start_of_parts(place: Path) -> str:
    return f".{place.name[:_PREFIX_LETTERS]}."


def _remove_parts_of(place: Path) -> None:
    for left in place.parent.glob(f"{glob.escape(_start_of_parts(place))}*.part"):
        _remove_unlocked(left)


def _remove_unlocked(left: Path) -> None:
    """Removes a part or a lock that no process holds."""
    with suppress(OSError):
        lock = os.open(left, os.O_RDONLY if left.is_dir() else os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                os.ftruncate(lock, 0)  # it names a process that is gone
                left.unlink()
        finally:
            os.close(lock)


def _to_disk(path: Path) -> None:
    """Waits until a file, or all files of a folder, would survive a loss of power."""
    for each in [path] if path.is_file() else path.rglob("*"):
        if each.is_file():
            file = os.open(each, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)


def _keep(old: Path, new: Path, dropped: Container[str]) -> None:
    """Puts the files that only the old folder has into the new one too, without copying them."""
    for at, folders, files in os.walk(old):
        here = new / Path(at).relative_to(old)
        if not here.is_dir():
            here.mkdir()
        links = [name for name in folders if (Path(at) / name).is_symlink()]
        for name in [*files, *links]:
            path, target = Path(at) / name, here / name
            if os.path.lexists(target) or path.relative_to(old).as_posix() in dropped:
                continue
            try:
                os.link(path, target, follow_symlinks=False)
            except OSError:  # a file system without hard links
                shutil.copy2(path, target, follow_symlinks=False)


def _exchange(new: Path, old: Path) -> None:
    """Lets two folders change places; in one step where the system can (Linux)."""
    with suppress(OSError, AttributeError):
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
        paths = (_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old))
        if renameat2(*paths, _RENAME_EXCHANGE) == 0:
            return
    aside = new.with_name(f"{new.name}.old")
    old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        aside.rename(old)
        raise


def _may_move(folder: Path) -> bool:
    place, here = Path(os.path.realpath(folder)), Path(os.path.realpath(Path.cwd()))
    stands_in_it = place == here or place in here.parents
    return not (stands_in_it or place.is_mount()) and os.access(place.parent, os.W_OK)
