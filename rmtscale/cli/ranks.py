"""Several processes of one command, as torchrun starts them: which works, and which speaks."""

from __future__ import annotations

import os
import sys
import time

from rmtscale.errors import BadInput

SHARED_OUT = ("train", "evaluate")
"""Commands whose work is shared out among the processes; the first one does all of any other."""
_FIRST_SECONDS = 20.0


def is_first() -> bool:
    """Whether this is the only process, or the first of all."""
    return os.environ.get("RANK", "0") == "0"


def is_first_here() -> bool:
    """Whether this is the only process on its host, or the first."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def processes_here() -> int:
    """Returns how many processes torchrun started, all on this host.

    Raises:
        BadInput: some are on other hosts, where the first one cannot start what it measures.
    """
    every = os.environ.get("WORLD_SIZE", "1")
    here = os.environ.get("LOCAL_WORLD_SIZE", every)
    if not every.isdecimal() or here != every:
        raise BadInput(f"{every} processes, {here} on this host: expected one host (--nnodes 1)")
    return int(every)


def wait_for_the_first_to_speak(code: int) -> None:
    """Waits, in any process but the first of its host, for what ends that one.

    Args:
        code: exit code of a process that is ended meanwhile.

    What is wrong for one is mostly wrong for all, and is to be said once. Where the first one fails
    too, torchrun ends the others meanwhile; where it does not, they speak for themselves.
    """
    if not is_first_here():
        try:
            time.sleep(_FIRST_SECONDS)
        except KeyboardInterrupt:  # a signal of torchrun's
            sys.exit(code)
