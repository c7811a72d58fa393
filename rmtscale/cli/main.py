"""``rmtscale``: picks the command, and turns every error into one line and an exit code.

Only the module of the command that was asked for is imported: an estimate is done before a full
command line would have been built.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext, suppress
from importlib import import_module
from typing import Any, NoReturn

import typer

from rmtscale.cli.help_pages import Commands, PanelCommand
from rmtscale.cli.interrupts import INTERRUPTED, Interrupts, interrupts
from rmtscale.cli.options import OLD_OPTIONS
from rmtscale.cli.output import write_note
from rmtscale.cli.ranks import (
    SHARED_OUT,
    is_first,
    is_first_here,
    wait_for_the_first_to_speak,
)
from rmtscale.cli.waiting import Waiting
from rmtscale.errors import RmtscaleError
from rmtscale.printable import one_line
from rmtscale.processes import follow_parent
from rmtscale.steps import watched_by

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
    "attention",
    "reproduce",
    "report",
    "models",
    "devices",
    "app",
    "cite",
)
# The class of all usage errors; typer exports only its subclasses.
_UsageError: Any = typer.BadParameter.__bases__[0]


def build_app(only: str | None = None) -> typer.Typer:
    """The application with every command, or with the one called ``only``."""
    app = typer.Typer(
        name="rmtscale",
        cls=Commands,
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
            module = import_module(f"rmtscale.cli.{name.replace('-', '_')}")
            app.command(name, cls=PanelCommand)(module.command)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        from rmtscale import __version__

        sys.stdout.write(f"rmtscale {__version__}\n")
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script; always leaves through ``SystemExit``."""
    follow_parent()
    # Of several processes one says how far it is.
    watching = watched_by(Waiting()) if is_first() else nullcontext()
    with interrupts() as interrupted, watching:
        _run(arguments, interrupted)


def _run(arguments: list[str] | None, interrupted: Interrupts) -> NoReturn:
    arguments = sys.argv[1:] if arguments is None else arguments
    words = _completed_words() or arguments
    only = words[0] if words and words[0] in COMMANDS else None
    if only not in SHARED_OUT and not is_first():
        sys.exit(0)
    try:
        code = build_app(only)(arguments, standalone_mode=False)
        sys.stdout.flush()
    except RmtscaleError as error:
        wait_for_the_first_to_speak(error.exit_code)
        sys.exit(_report(str(error), error.exit_code))
    except _UsageError as error:
        wait_for_the_first_to_speak(2)
        sys.exit(_report(error.format_message(), 2))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(_report_end(interrupted))
    except BrokenPipeError:
        _leave_quietly(0)
    except OSError as error:
        _leave_quietly(_report(_refused_by_system(error), 2))
    except MemoryError:
        sys.exit(_report("memory: not enough for what was asked, expected smaller sizes", 2))
    except RecursionError:
        sys.exit(_report("input: nested too deep to be read, expected less than 100 levels", 2))
    except UnicodeError as error:
        sys.exit(_report(f"text: expected UTF-8 ({error})", 2))
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # click and rich make it a failure
            _leave_quietly(0)
        raise
    if code == INTERRUPTED:  # typer turns an interrupt into this code and says nothing
        sys.exit(_report_end(interrupted))
    sys.exit(code if isinstance(code, int) else 0)


def _completed_words() -> list[str]:
    """The words behind ``rmtscale`` on a line that a shell wants completed; none otherwise."""
    if "_RMTSCALE_COMPLETE" not in os.environ:
        return []
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    return line.split()[1:]


def _refused_by_system(error: OSError) -> str:
    """Says what the system refused, and of which file; without one it is what is printed to."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return f"output: {reason}"
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    return f"file {name!r}: {reason}"


def _leave_quietly(code: int) -> NoReturn:
    """Ends where nobody reads on: a reader (head, less) has gone, or a disk is full."""
    # What is still buffered is written at the very end, to nobody.
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _report_end(interrupted: Interrupts) -> int:
    """Says what ended the command, on the first process of its host: torchrun ends all of them."""
    if not is_first_here():
        return interrupted.exit_code
    return _report(interrupted.words, interrupted.exit_code)


def _report(message: str, code: int) -> int:
    """Prints ``error: ...`` in one line and hands the exit code back."""
    with suppress(OSError):  # a terminal that was closed
        write_note(f"error: {one_line(message)}")
    return code
