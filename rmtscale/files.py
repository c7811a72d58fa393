"""Files are written whole or not at all, and never over another without being told to."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rmtscale.errors import BadInput


def require_writable(paths: Sequence[Path], *, force: bool) -> None:
    """Checks, before any work, that no file exists or that ``force`` lets them go.

    Raises:
        BadInput: a file is there, or a folder's name is taken by a file.
    """
    for path in paths:
        for parent in path.parents:
            if parent.exists():
                if not parent.is_dir():
                    raise BadInput(f"output {str(path)!r}: {str(parent)!r} is not a folder")
                break
        if path.exists() and not force:
            raise BadInput(f"output {str(path)!r}: exists already, expected --force to overwrite")


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes through a temporary file beside ``path`` and a rename.

    Raises:
        BadInput: the system refuses (no permission, disk full); nothing is left behind.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise BadInput(f"output {str(path)!r}: cannot be written ({error.strerror})") from error


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


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Makes an empty folder beside ``folder`` to write into, which takes its place at the end.

    Where another process made ``folder`` meanwhile, that one stays: for content that is the same
    whoever writes it.

    Raises:
        BadInput: the system refuses (no permission, disk full); nothing is left behind.
    """
    part: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
        part.chmod(0o777 & ~_umask())
        yield part
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    except OSError as error:
        raise BadInput(f"output {str(folder)!r}: cannot be written ({error.strerror})") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def write_all(folder: Path, contents: Mapping[str, bytes | str | None], *, force: bool) -> None:
    """Writes files by name into a folder; nothing where one of them may not be written.

    A file whose content is None has nothing to show this time: one of an earlier run is removed.

    Raises:
        BadInput: a file is there already and ``force`` is not set, or cannot be written.
    """
    require_writable([folder / name for name in contents], force=force)
    for name, content in contents.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write_whole(folder / name, content)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
