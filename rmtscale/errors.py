"""One error tree; the class of an error decides the exit code of the command line.

The bare fact is raised where it is found ("segment size 10 leaves no room for text"); the
command line adds the context once and prints one line.
"""

from __future__ import annotations

from collections.abc import Iterable

from rmtscale.printable import one_line


class RmtscaleError(Exception):
    """Anything rmtscale itself reports; never a bug, always something the user can act on.

    The message is one line that can be printed, whatever the value was that it names.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class BadInput(RmtscaleError, ValueError):
    """A value that cannot be used. The message names the value and what would be accepted."""


class MissingDependency(RmtscaleError, ImportError):
    """A command needs a library that the light installation leaves out."""


class CheckFailed(RmtscaleError):
    """A check that was asked for ran, and its answer is no."""

    exit_code = 1


def reason_of(error: BaseException, most: int = 120) -> str:
    """Returns what another library says is wrong, in one line: the first of it, or its class.

    A first line that ends in a colon says nothing without the next.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return (said or type(error).__name__)[:most]


def quoted_list(values: Iterable[object]) -> str:
    """Returns the accepted values of a message: ``a, b or c``, in the order given."""
    words = [str(value) for value in values]
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} or {words[-1]}"
