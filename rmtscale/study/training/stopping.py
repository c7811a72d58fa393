"""A signal to one of several processes stops all of them behind the same interval, with a state.

Each of them waits for the others in every step: one that left at once would have the others wait,
or be killed, and what was trained since the last state would be lost. Where one is killed all the
same, the others end too; the last state is kept.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from rmtscale.errors import CheckFailed, reason_of
from rmtscale.processes import ENDING, handled


class Stop:
    """Notes the signal that asks for an end."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None

    def note(self, number: int, _: FrameType | None) -> None:
        """Takes a signal; the loop looks for it behind every interval."""
        self.asked = signal.Signals(number)


@contextmanager
def noted_signals(several: bool) -> Iterator[Stop]:
    """Notes SIGTERM and SIGHUP, where there are several processes, and raises them again behind.

    Args:
        several: whether there are; one alone ends at once, as its caller wants it.
    """
    stop = Stop()
    with handled(ENDING if several else (), stop.note):
        yield stop
    if stop.asked is not None:
        signal.raise_signal(stop.asked)


_LOST = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")
"""Words of what torch raises, mostly as a plain ``RuntimeError``, where a process has gone."""


@contextmanager
def lost_processes() -> Iterator[None]:
    """Makes one line of what is raised where another process has gone.

    Raises:
        CheckFailed: another process was killed, or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        several = os.environ.get("WORLD_SIZE", "1") != "1"
        lost = isinstance(error, torch.distributed.DistError)
        if not several or not (lost or any(word in str(error) for word in _LOST)):
            raise
        raise CheckFailed(
            f"another process of this command has gone ({reason_of(error, 200)}); what is "
            "written is kept, the same command goes on from there"
        ) from error
