"""An option as the user typed it, for the line that refuses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

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


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, int) else repr(str(value))
