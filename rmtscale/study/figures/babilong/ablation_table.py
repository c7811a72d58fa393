"""The ablation as a table: a row for each run of a training, or that there is none yet."""

from __future__ import annotations

from collections.abc import Sequence

from rmtscale.study.figures.babilong.ablation import (
    ADDED,
    CHANGES,
    DEAD_BAND,
    LAST_TRAINED,
    LENGTHS,
    PLAIN,
    TASKS,
)
from rmtscale.study.figures.babilong.recipes import ablated
from rmtscale.study.figures.babilong.runs import DEAD_BAND as HELD
from rmtscale.study.figures.babilong.runs import Run
from rmtscale.study.figures.babilong.tables import NO_RUN
from rmtscale.study.records.babilong import BabilongTraining
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.tabular import markdown_table


def change_of(run: Run) -> str | None:
    """Returns the last change that a run of the ablation has; None of any other run.

    A training is one of the ablation where it has its settings, as far as a record notes them:
    whatever its recipe was called. Only the last one counts with a dead band.
    """
    training = run.training
    if training is None or run.task not in TASKS or training.stories != run.task:
        return None
    trained = _noted(training)
    changes = [
        change for change in ADDED if trained == _settings(ablated(run.task, change, training.seed))
    ]
    if not changes or run.answers != "classes":
        return None
    if run.variant == HELD:
        return DEAD_BAND if changes == [LAST_TRAINED] else None
    return changes[0]


def ablation_table(runs: Sequence[Run]) -> str:
    """Writes accuracies by length, task after task, change after change."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        change = change_of(run)
        if change is not None:
            found.setdefault((run.task, change), []).append(run)
    rows = []
    for task in TASKS:
        for change in CHANGES:
            name = change if change == PLAIN else f"+ {change}"
            own = found.get((task, change), [])
            rows += [[task, name, _trained(run), *_cells(run)] for run in own]
            if not own:
                rows.append([task, name, NO_RUN, *[""] * len(LENGTHS)])
    return markdown_table(("task", "change", "run", *LENGTHS), rows)


def _trained(run: Run) -> str:
    training = run.training
    assert training is not None, "a run of the ablation"
    held = [f"dead band {run.dead_band:g}"] if run.dead_band else []
    words = [f"seed {training.seed}", f"{training.steps:,} steps", f"to {training.stage}", *held]
    return ", ".join(words)


def _cells(run: Run) -> list[str]:
    return [f"{100 * run.shares[name]:.1f}" if name in run.shares else "" for name in LENGTHS]


def _noted(training: BabilongTraining) -> tuple[object, ...]:
    return (
        *(training.backbone, training.segment_tokens, training.memory_tokens),
        *(training.burn_in, training.fact_fragments, training.replay_lost),
        *(training.between_share, training.ask_state, training.initializer_range),
        *(training.closing_questions or 0, training.memory_noise or 0.0),
    )


def _settings(settings: MemoryTaskSettings) -> tuple[object, ...]:
    segment_tokens = settings.segment_size - 2 * settings.memory_tokens
    return (
        *(settings.backbone, segment_tokens, settings.memory_tokens),
        *(settings.burn_in, settings.fact_fragments, settings.replay_lost),
        *(settings.between_share, False, settings.initializer_range),
        *(settings.closing_questions, settings.memory_noise),
    )
