"""Trainings and commands on one rank of several, for ``tests.forked`` to run."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from rmtscale.cli.main import main
from rmtscale.study.training.loop import train
from rmtscale.study.training.prefetch import Batch, Prefetcher
from rmtscale.study.training.settings import LoopSettings


def train_on_one_rank(chosen: LoopSettings, folder: Path, more: dict[str, Any]) -> None:
    """Trains, and leaves at once: what a process tears down at its end may hang."""
    train(chosen, folder, **more)
    sys.stdout.flush()
    os._exit(0)


def command_on_one_rank(
    words: list[str], at: int = 0, how: signal.Signals = signal.SIGTERM
) -> None:
    """Runs a command; a signal comes to the second process, in the midst of a step.

    Args:
        words: of the command.
        at: the step; 0 is none.
        how: the signal.
    """
    made, left = Prefetcher.next, [at]

    def ended(self: Prefetcher) -> Batch:
        left[0] -= 1
        if left[0] == 0 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), how)
        return made(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prefetcher, "next", ended)
        defaults: Any = train.__kwdefaults__
        patch.setitem(defaults, "save_seconds", 0.0)  # a state each interval
        try:
            main(words)
        except SystemExit as leaving:
            sys.stdout.flush()
            code = leaving.code
            os._exit(code if isinstance(code, int) else int(code is not None))
