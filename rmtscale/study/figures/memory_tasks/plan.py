"""Which trainings a figure of the memory tasks shows, and at what lengths they are evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rmtscale.errors import BadInput, quoted_list
from rmtscale.study.figures.memory_tasks.recipes import SEEDS, TASKS, recipes
from rmtscale.study.training.layout import BEST, LAST
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings

RETENTION_SEGMENTS = tuple(2**power for power in range(13))
"""1 to 4096, as in Figure 5."""
GENERALIZATION_SEGMENTS = tuple(range(1, 16))
"""The lengths of Figures 4 and 11."""
QUICK_SEGMENTS = (1, 2, 3, 4, 6, 8)


def best_checkpoint(folder: Path) -> dict[str, Path]:
    """Finds the best checkpoint of a training; the last where none was validated."""
    return {"best": folder / BEST if (folder / BEST).is_dir() else folder / LAST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainings:
    """The trainings and evaluations that a figure shows at full size."""

    families: tuple[str, ...] = TASKS
    """Names of recipes without their seeds."""
    seeds: tuple[int, ...] = SEEDS
    segments: tuple[int, ...] = GENERALIZATION_SEGMENTS
    """Lengths of the evaluation."""
    checkpoints: Callable[[Path], dict[str, Path]] = best_checkpoint
    """Finds the checkpoints to evaluate in the folder of a training, by name."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The trainings of a figure by name, and how each is evaluated."""

    recipes: dict[str, MemoryTaskSettings]
    segments: tuple[int, ...]
    samples: int
    long_samples: int
    batch_size: int


def plan(
    trainings: Trainings, *, quick: bool, background: str, seeds: tuple[int, ...] | None = None
) -> Plan:
    """Plans the trainings and evaluations of a figure.

    Args:
        trainings: what it shows at full size.
        quick: the toy size, seed 0.
        background: the noise between the facts.
        seeds: in the place of those the figure shows.

    Raises:
        BadInput: a seed that no recipe has.
    """
    known = recipes(background)
    if quick:
        names = [f"quick-{family}-0" for family in trainings.families]
        return Plan({name: known[name] for name in names}, QUICK_SEGMENTS, 200, 200, 50)
    seeds = seeds or trainings.seeds
    for seed in seeds:
        if seed not in SEEDS:
            raise BadInput(f"seed {seed}: expected {quoted_list(SEEDS)}")
    names = [f"{family}-{seed}" for seed in seeds for family in trainings.families]
    return Plan({name: known[name] for name in names}, trainings.segments, 1000, 200, 100)
