"""Every training of every experiment by name, for ``rmtscale train --recipe NAME``."""

from __future__ import annotations

from rmtscale.study.figures.language import recipes as language
from rmtscale.study.figures.memory_tasks import recipes as memory_tasks
from rmtscale.study.training.settings import LoopSettings


def recipes() -> dict[str, LoopSettings]:
    """``memorize-0``, ``latex-128-rmt-4-mixing-0``, ``lean-rmt-4-0``, ..."""
    return {**memory_tasks.recipes(), **language.recipes()}
