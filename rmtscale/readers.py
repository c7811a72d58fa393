"""The one reader of files from outside: JSON, TOML, lines of text, and whatever stands in them.

A file may be a pipe that nobody writes to, a device without an end, 64 GiB of zeros, a hundred
thousand brackets or a number of a million digits. Each is told in one line, and none is waited for.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from rmtscale.errors import BadInput
from rmtscale.limits import (
    MOST_CONFIG_BYTES,
    MOST_DEPTH,
    MOST_DIGITS,
    MOST_LINE_BYTES,
    MOST_TEXT_BYTES,
)

_FLOAT = "__float__"
_NOT_FINITE = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
"""Numbers that JSON does not have, as Transformers writes them behind the key ``_FLOAT``."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@contextmanager
def open_file(path: Path, named: str, *, pipes: bool = False) -> Iterator[IO[bytes]]:
    """Opens a regular file to read its bytes; never waits for somebody to write to it.

    Args:
        path: of the file.
        named: how messages begin, such as ``calibration 'x.json'``.
        pipes: a pipe will do too: ``<(zcat x.gz)``, ``/dev/stdin``.

    Raises:
        BadInput: not there, cannot be read, or no file.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        mode = os.fstat(number).st_mode
        if not (stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode))):
            os.close(number)
            kind = _KINDS.get(stat.S_IFMT(mode), "something else")
            raise BadInput(f"{named}: cannot be read, expected a file, this is {kind}")
        os.set_blocking(number, True)
        with os.fdopen(number, "rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise BadInput(f"{named}: cannot be read ({why or error})") from error
    except ValueError as error:
        if isinstance(error, BadInput | UnicodeError):
            raise
        raise BadInput(f"{named}: cannot be read ({error})") from error


def require_file(path: Path, named: str) -> None:
    """Raises ``BadInput`` unless there is a regular file that another library can open."""
    with open_file(path, named):
        pass


def read_bytes(
    path: Path, named: str, most_bytes: int = MOST_CONFIG_BYTES, *, pipes: bool = False
) -> bytes:
    """Reads a whole file.

    Raises:
        BadInput: as ``open_file``, or more than ``most_bytes`` in it.
    """
    with open_file(path, named, pipes=pipes) as file:
        if os.fstat(file.fileno()).st_size > most_bytes:
            _refuse_size(named, most_bytes)
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        _refuse_size(named, most_bytes)
    return content


def read_text(path: Path, named: str, most_bytes: int = MOST_CONFIG_BYTES) -> str:
    """Reads a whole file of text.

    Raises:
        BadInput: as ``read_bytes``, or no UTF-8.
    """
    try:
        return read_bytes(path, named, most_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{named}: cannot be read as UTF-8, this is not text") from error


def read_json(path: Path, named: str, most_bytes: int = MOST_CONFIG_BYTES) -> Any:
    """Reads a file of JSON.

    Raises:
        BadInput: as ``read_text``, or no JSON.
    """
    return parse_json(read_text(path, named, most_bytes), named)


def parse_json(text: str, named: str) -> Any:
    """Returns the content of JSON from outside.

    Raises:
        BadInput: no JSON, a number that is none, or nested too deep.
    """
    try:
        return load_json(text)
    except ValueError as error:
        raise BadInput(f"{named}: expected JSON, this is not JSON ({error})") from error


def read_config(path: Path, named: str) -> Any:
    """Reads the ``config.json`` of a model.

    Raises:
        BadInput: as ``read_text``, or as ``parse_config``.
    """
    return parse_config(read_text(path, named), named)


def parse_config(text: str, named: str) -> Any:
    """Returns the content of a model's config, in which numbers may be infinite.

    Published files have a limit that there is not, such as Mamba 2's ``time_step_limit``, as
    ``Infinity``; Transformers 5 writes ``{"__float__": "Infinity"}``. Whoever reads a field refuses
    what it cannot be, by name.

    Raises:
        BadInput: no JSON, or nested too deep.
    """
    try:
        return with_floats(load_json(text, finite=False))
    except ValueError as error:
        raise BadInput(f"{named}: expected JSON, this is not JSON ({error})") from error


def with_floats(value: Any) -> Any:
    """Returns JSON with the numbers that Transformers has a word for; see ``without_floats``."""
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(value.get(_FLOAT), str):
            return _NOT_FINITE.get(value[_FLOAT], value)
        return {key: with_floats(item) for key, item in value.items()}
    return [with_floats(item) for item in value] if isinstance(value, list) else value


def without_floats(value: Any) -> Any:
    """Returns a value in which numbers that JSON does not have are words, as in Transformers."""
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, dict):
        return {key: without_floats(item) for key, item in value.items()}
    return [without_floats(item) for item in value] if isinstance(value, list | tuple) else value


def load_json(text: str, *, finite: bool = True) -> Any:
    """Returns the content of JSON as ``json.loads`` does, but not of any size.

    Args:
        text: to be read.
        finite: ``NaN``, ``Infinity`` and 1e999 are refused; otherwise whoever reads the fields
            refuses them by name.

    Raises:
        ValueError: no JSON, an integer of more than 40 digits, or nested too deep.
    """
    try:
        value = (_FINITE if finite else _ANY).decode(text)
    except RecursionError:
        raise ValueError(f"nested deeper than {MOST_DEPTH} brackets") from None
    if text.count("[") + text.count("{") > MOST_DEPTH or "\\u" in text:
        _require_plain(value, MOST_DEPTH)
    return value


def read_toml(path: Path, named: str) -> dict[str, Any]:
    """Reads a file of TOML.

    Raises:
        BadInput: as ``read_text``, or no TOML.
    """
    import tomllib

    text = read_text(path, named)
    try:
        value = tomllib.loads(text, parse_float=_finite)
        _require_plain(value, MOST_DEPTH)
    except RecursionError:
        raise BadInput(f"{named}: nested deeper than {MOST_DEPTH} brackets") from None
    except ValueError as error:
        raise BadInput(f"{named}: expected TOML ({error})") from error
    return value


def read_lines(path: Path, named: str) -> Iterator[str]:
    """Yields the lines of a file of text, unpacked where its name ends in ``.gz``.

    Raises:
        BadInput: as ``open_file``, no UTF-8, or a line or a file without an end.
    """
    import gzip

    read = 0
    with open_file(path, named) as file:
        packed = path.suffix == ".gz"
        source: IO[bytes] = io.BufferedReader(gzip.GzipFile(fileobj=file)) if packed else file
        number = 0
        while line := source.readline(MOST_LINE_BYTES + 1):
            number, read = number + 1, read + len(line)
            if len(line) > MOST_LINE_BYTES or read > MOST_TEXT_BYTES:
                _refuse_size(f"{named}, line {number}", MOST_LINE_BYTES)
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise BadInput(f"{named}, line {number}: cannot be read as UTF-8") from error


def _refuse_size(named: str, most_bytes: int) -> NoReturn:
    raise BadInput(f"{named}: expected {most_bytes:,} bytes or less")


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no finite number")


_FINITE = json.JSONDecoder(parse_int=_whole, parse_float=_finite, parse_constant=_constant)
_ANY = json.JSONDecoder(parse_int=_whole)


def _require_plain(value: Any, levels: int) -> None:
    """Raises ``ValueError`` for what is nested deeper, half a character, or a number too long."""
    if levels < 0:
        raise ValueError(f"nested deeper than {MOST_DEPTH} brackets")
    if isinstance(value, dict):
        for key, item in value.items():
            _require_plain(key, levels)
            _require_plain(item, levels - 1)
    elif isinstance(value, list):
        for item in value:
            _require_plain(item, levels - 1)
    elif isinstance(value, str):
        if not value.isascii() and any("\ud800" <= part <= "\udfff" for part in value):
            raise ValueError("half a character, expected whole characters")
    elif isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        raise ValueError(f"an integer of more than {MOST_DIGITS} digits")


def no_such_file(error: BadInput) -> bool:
    """Whether a reader's error is that nothing is there."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno == errno.ENOENT
