"""The rule that every bad value meets: one line and exit code 2, or a right answer.

No traceback, no hang, no memory filled, no file left behind, and nothing on a terminal that moves
its cursor or turns its text around.
"""

from __future__ import annotations

import io
import resource
import signal
import sys
import traceback
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import typer

SECONDS = 3.0
"""Of this core: a refusal takes milliseconds, whoever needs this is stopped."""
_WAITED = 15.0
"""Seconds by the clock, for what waits and does not work."""
_ROOM_BYTES = 3 * 2**30
"""More address space than the process has; without it, a size of 3e8 fills the machine."""
_LONGEST = 700
"""Characters of an error; a list of all presets is as long."""


class Hang(BaseException):
    """Raised where a case takes longer than it may."""


@contextmanager
def built_once() -> Iterator[None]:
    """Lets ``main`` take each command's parser from the case before: building takes the most."""
    from rmtscale.cli import main as boundary

    build: Any = boundary.build_app
    parser = cache(lambda only=None: typer.main.get_command(build(only)))
    with mock.patch.object(boundary, "build_app", parser):
        yield


@contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """Stops what takes too long or too much memory."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Hang

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    room = pages * resource.getpagesize() + _ROOM_BYTES
    before = [signal.signal(number, stop) for number in (signal.SIGALRM, signal.SIGPROF)]
    resource.setrlimit(resource.RLIMIT_AS, (room, limits[1]))
    signal.setitimer(signal.ITIMER_REAL, _WAITED)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in zip((signal.SIGALRM, signal.SIGPROF), before, strict=True):
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def breach_of_command(arguments: list[str], folder: Path) -> str:
    """Runs ``rmtscale ARGUMENTS`` in this process; returns how it broke the rule, or nothing."""
    from rmtscale.cli import main as boundary

    before = _names(folder)
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    err.reconfigure(errors="backslashreplace")
    code: object = None
    try:
        with limited(), redirect_stdout(out), redirect_stderr(err):
            boundary.main(arguments)
    except SystemExit as leaving:
        code = leaving.code or 0
    except Hang:
        return "hangs"
    except BaseException as error:  # noqa: BLE001
        return f"traceback: {_where(error)}"
    told, shown = (_text(stream) for stream in (err, out))
    left = sorted(_names(folder) - before)
    for name in reversed(left):
        path = folder / name
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    found = _unprintable(told) or _unprintable(shown)
    if found:
        return f"prints {found}"
    if code in (0, 1):
        return "" if code == 0 or told.rstrip().count("error: ") == 1 else f"no reason: {told!r}"
    if code != 2:
        return f"exit code {code}"
    *notes, line = told.splitlines() or [""]
    if not line.startswith("error: ") or len(line) < 12:
        return f"no error line: {told[-200:]!r}"
    if any(not note.startswith(("note: ", "warning: ", "noise: ")) for note in notes):
        return f"more than a line: {told[:300]!r}"
    if len(line) > _LONGEST:
        return f"a line of {len(line)} characters: {line[:100]}"
    if left:
        return f"leaves {left[0]}"
    return ""


def breach_of_call(call: Callable[[], object], *, refused: bool = False) -> str:
    """Calls a reader; returns how it broke the rule, or nothing.

    Args:
        call: reads.
        refused: what is read is right, and a refusal breaks the rule.

    What the system refuses may come as it is where it names the file: ``main`` makes a line of it.
    """
    from rmtscale.errors import RmtscaleError

    try:
        with limited():
            call()
    except RmtscaleError as error:
        text = str(error)
        if refused:
            return f"refuses: {text}"
        found = _unprintable(" ".join(text.split()))
        if found:
            return f"says {found}"
        return f"says {len(text)} characters" if len(text) > _LONGEST else ""
    except Hang:
        return "hangs"
    except BaseException as error:  # noqa: BLE001
        if isinstance(error, OSError) and error.filename:
            return ""
        return f"traceback: {_where(error)}"
    return ""


def _names(folder: Path) -> set[str]:
    """Everything below a folder, but what nobody can look into."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined, no-any-return]


def _unprintable(text: str) -> str:
    """The first character that a terminal would obey, by name."""
    for character in text:
        kind = unicodedata.category(character)
        if (kind in ("Cc", "Cs") and character not in "\n\t") or (
            unicodedata.bidirectional(character)
            in ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI")
        ):
            return f"U+{ord(character):04X}"
    return ""


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "rmtscale" in frame.filename.split("tests/")[-1]]
    last = ours[-1] if ours else frames[-1]
    place = f"{last.filename.rpartition('rmtscale/')[2]}:{last.lineno}"
    return f"{type(error).__name__} in {place}: {str(error)[:100]}"


def tell(breaches: dict[str, str]) -> str:
    """Lists breaches for a message, a few of each kind."""
    lines = [f"{name}: {breach}" for name, breach in breaches.items()]
    return f"{len(lines)} breaches\n" + "\n".join(lines[:40])


if sys.platform != "linux":  # what is measured here is read from /proc
    raise ImportError("the hostile tests need Linux")
