"""What a command left behind, the type of the fixture that runs one, and a command's options."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import typer

from rmtscale.cli.main import build_app


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@cache
def parser_of(name: str) -> Any:
    """The parser of one command."""
    group: Any = typer.main.get_command(build_app(name))
    return group.commands[name]


def options_of(name: str) -> set[str]:
    """All options of a command, hidden ones included."""
    return {
        option
        for parameter in parser_of(name).params
        for option in (*parameter.opts, *parameter.secondary_opts)
    } | {"--help", "-h"}
