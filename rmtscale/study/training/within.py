"""Moves the end of a training to the time that there is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from rmtscale.study.training.metrics import has_speed, steps_within
from rmtscale.study.training.settings import LoopSettings

Settings = TypeVar("Settings", bound=LoopSettings)


def ending_within(
    settings: Settings, folder: Path, seconds: float, try_it: Callable[[], bool]
) -> Settings:
    """Returns settings whose last step is reached ``seconds`` from now.

    A training that has no throughput yet is run until it has: that time counts.

    Args:
        settings: those of the training.
        folder: where it is, or will be.
        seconds: the time that there is.
        try_it: runs one interval of it, and says whether that was its last.
    """
    began = time.monotonic()
    while not has_speed(folder):
        if try_it():
            return settings
    left = max(seconds - (time.monotonic() - began), 0.0)
    return replace(settings, steps=steps_within(folder, left, settings.log_every))
