"""Every training of every experiment by name, for ``rmtscale train --recipe NAME``."""

from __future__ import annotations

from rmtscale.experiments import language_tasks, memory_tasks
from rmtscale.training.settings import LoopSettings


def recipes() -> dict[str, LoopSettings]:
    """``memorize-0``, ``latex-128-rmt-4-mixing-0``, ``lean-rmt-4-0``, ..."""
    return {**memory_tasks.recipes(), **language_tasks.recipes()}
