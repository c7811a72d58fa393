"""``rmtscale``: picks the command, and turns every error into one line and an exit code.

Only the module of the command that was asked for is imported: an estimate is done before a full
command line would have been built.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import typer

from rmtscale.cli.options import OLD_OPTIONS
from rmtscale.errors import RmtscaleError

COMMANDS = (
    "estimate",
    "flops",
    "memory",
    "plan",
    "compare",
    "generate-cost",
    "verify",
    "profile",
    "calibrate",
    "train",
    "evaluate",
    "dead-band",
    "reproduce",
    "report",
    "models",
    "devices",
    "cite",
)
_INTERRUPTED = 130
# The class of all usage errors; typer exports only its subclasses.
_UsageError: Any = typer.BadParameter.__bases__[0]


def build_app(only: str | None = None) -> typer.Typer:
    """The application with every command, or with the one called ``only``."""
    app = typer.Typer(
        name="rmtscale",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={
            "help_option_names": ["-h", "--help"],
            "token_normalize_func": lambda name: OLD_OPTIONS.get(name, name),
        },
    )

    @app.callback()
    def rmtscale(
        _version: bool = typer.Option(
            False, "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ) -> None:
        """Predicts and measures what a long input costs, and what segment recurrence buys."""

    for name in COMMANDS:
        if only is None or name == only:
            app.command(name)(import_module(f"rmtscale.cli.{name.replace('-', '_')}").command)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        from rmtscale import __version__

        sys.stdout.write(f"rmtscale {__version__}\n")
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script; always leaves through ``SystemExit``."""
    arguments = sys.argv[1:] if arguments is None else arguments
    only = arguments[0] if arguments and arguments[0] in COMMANDS else None
    try:
        code = build_app(only)(arguments, standalone_mode=False)
    except RmtscaleError as error:
        sys.exit(_report(str(error), error.exit_code))
    except _UsageError as error:
        sys.exit(_report(error.format_message(), 2))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(_report("interrupted", _INTERRUPTED))
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing is left to say, nor anyone to say it to.
        sys.stderr.close()
        sys.exit(1)
    if code == _INTERRUPTED:  # typer turns an interrupt into this code and says nothing
        sys.exit(_report("interrupted", _INTERRUPTED))
    sys.exit(code if isinstance(code, int) else 0)


def _report(message: str, code: int) -> int:
    """Prints ``error: ...`` in one line and hands the exit code back."""
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return code
