"""An option as the user typed it, for the line that refuses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rmtscale.errors import BadInput

_RUNNING: ContextVar[Any] = ContextVar("running", default=None)
"""The parser's context of the command that runs."""


@contextmanager
def running(context: Any) -> Iterator[None]:
    """Lets ``as_given`` look options up in the context of a command, while it runs."""
    before = _RUNNING.set(context)
    try:
        yield
    finally:
        _RUNNING.reset(before)


def as_given(name: str) -> str:
    """Returns an option of the command that runs, with its value, as it was typed.

    ``--widths '0.3'``, ``--batch-size 3``; of a pair that one of the two names which was given:
    ``--no-compile``, ``--fixed``.

    Args:
        name: of the option, or of the parameter or setting that it fills: ``batch-size`` or
            ``batch_size``.

    Returns:
        The option; nothing where the command has none of that name, or it was not given.
    """
    context = _RUNNING.get()
    parameters = () if context is None else context.command.params
    wanted = name.replace("_", "-").removeprefix("--")
    for parameter in parameters:
        if wanted not in (parameter.name.replace("_", "-"), *(o[2:] for o in parameter.opts)):
            continue
        if context.get_parameter_source(parameter.name).name != "COMMANDLINE":
            return ""
        value = context.params[parameter.name]
        option = max(parameter.opts, key=len)
        if isinstance(value, bool):
            return option if value else "".join(parameter.secondary_opts[:1])
        values = value if isinstance(value, list | tuple) else (value,)
        return " ".join(f"{option} {_shown(each)}" for each in values)
    return ""


def refuse_unread(expected: str, *names: str) -> None:
    """Refuses options that were given although nothing reads them in what is asked.

    An answer that leaves out a part of the question looks like an answer to it.

    Args:
        expected: what they are read with, such as ``with --mode train``.
        names: of the options, as for ``as_given``.

    Raises:
        BadInput: names the first that was given, with its value.
    """
    for name in names:
        if given := as_given(name):
            raise BadInput(f"{given}: expected {expected}")


def refuse_all_but(expected: str, *names: str) -> None:
    """Refuses every option of the command that runs but those of these names.

    Raises:
        BadInput: as ``refuse_unread``.
    """
    context = _RUNNING.get()
    parameters = () if context is None else context.command.params
    refuse_unread(expected, *(one.name for one in parameters if one.name not in names))


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, int) else repr(str(value))
