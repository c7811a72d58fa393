"""The ablation as a table: a row for each run of a training, or that there is none yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
from rmtscale.study.figures.babilong.runs import Run, changes_of
from rmtscale.study.figures.babilong.tables import NO_RUN, score_with_interval
from rmtscale.study.records.babilong import BabilongTraining
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.tabular import markdown_table
from rmtscale.units import format_percent, format_seconds, format_tokens

EQUAL_WITHIN = 0.05
"""Largest difference of equal work, by the least."""


def change_of(run: Run) -> str | None:
    """Returns the last change that a run of the ablation has; None of any other run.

    A training is one of the ablation where it has its settings, as far as a record notes them, and
    nothing else that is off by default: whatever its recipe was called. Only the last one counts
    with a dead band.
    """
    training = run.training
    if training is None or run.task not in TASKS or training.stories != run.task:
        return None
    trained = _noted(training)
    changes = [
        change for change in ADDED if trained == _settings(ablated(run.task, change, training.seed))
    ]
    if not changes or run.answers != "classes" or changes_of(training):
        return None
    if run.variant == HELD:
        return DEAD_BAND if changes == [LAST_TRAINED] else None
    return changes[0]


def ablation_table(runs: Sequence[Run]) -> str:
    """Writes accuracies by length with intervals, task after task, change after change."""
    found = _by_change(runs)
    rows = []
    for task in TASKS:
        for change in CHANGES:
            name = change if change == PLAIN else f"+ {change}"
            own = found.get((task, change), [])
            rows += [[task, name, *_trained(run), *_cells(run)] for run in own]
            if not own:
                rows.append([task, name, NO_RUN, *[""] * (2 + len(LENGTHS))])
    return markdown_table(("task", "change", "run", "steps", "time of steps", *LENGTHS), rows)


def equal_work(runs: Sequence[Run]) -> str:
    """Says of each task whether its trainings made as many steps, or took as long."""
    found = _by_change(runs)
    words = []
    for task in TASKS:
        arms = [change for change in ADDED if (task, change) in found]
        trainings = [
            run.training
            for change in arms
            for run in found[task, change]
            if run.training is not None
        ]
        if len(arms) > 1:
            words.append(f"{task}: {_work(trainings)}.")
    return " ".join(words) or "No task has two trainings to compare yet."


def _work(trainings: Sequence[BabilongTraining]) -> str:
    steps = [training.steps for training in trainings]
    seconds = [training.seconds for training in trainings if training.seconds is not None]
    parts = [_range("steps", steps, lambda value: format_tokens(round(value)))]
    if len(seconds) == len(trainings):
        parts.append(_range("time of steps", seconds, format_seconds))
    else:
        parts.append("time of steps not noted of all")
    return ", ".join(parts)


def _range(name: str, values: Sequence[float], show: Callable[[float], str]) -> str:
    least, most = min(values), max(values)
    if least == most:
        return f"equal {name}, {show(least)}"
    equal = most <= (1 + EQUAL_WITHIN) * least
    how = f"equal {name} within {format_percent(EQUAL_WITHIN)}" if equal else f"unequal {name}"
    return f"{how}, {show(least)} to {show(most)}"


def _by_change(runs: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        change = change_of(run)
        if change is not None:
            found.setdefault((run.task, change), []).append(run)
    return found


def _trained(run: Run) -> list[str]:
    training = run.training
    assert training is not None, "a run of the ablation"
    burn_in = "/".join(map(str, training.burn_in))
    words = [f"seed {training.seed}", *([f"burn-in {burn_in}"] if burn_in else [])]
    band = f"dead band {run.dead_band:g} ({run.width_chosen})"
    words += [band] if run.dead_band else [f"last stage {training.stage}"]
    seconds = "" if training.seconds is None else format_seconds(training.seconds)
    return [", ".join(words), format_tokens(training.steps), seconds]


def _cells(run: Run) -> list[str]:
    return [score_with_interval(run.curve[name]) if name in run.curve else "" for name in LENGTHS]


def _noted(training: BabilongTraining) -> tuple[object, ...]:
    return (
        *(training.backbone, training.segment_tokens),
        *(training.memory_tokens, training.sink_tokens),
        # How long burn-ins were stands in the row: a longer training may have longer ones.
        *(bool(training.burn_in), training.fact_fragments, training.replay_lost),
        *(training.between_share, training.ask_state, training.initializer_range),
        *(training.closing_questions or 0, training.memory_noise or 0.0),
        *(training.late_facts or 0, training.burn_in_dead_band or 0.0),
    )


def _settings(settings: MemoryTaskSettings) -> tuple[object, ...]:
    segment_tokens = settings.segment_size - 2 * settings.memory_tokens
    return (
        *(settings.backbone, segment_tokens),
        *(settings.memory_tokens, settings.sink_tokens),
        *(bool(settings.burn_in), settings.fact_fragments, settings.replay_lost),
        *(settings.between_share, bool(settings.task_options.get("ask_state", False))),
        settings.initializer_range,
        *(settings.closing_questions, settings.memory_noise),
        *(settings.late_facts, settings.burn_in_dead_band),
    )
