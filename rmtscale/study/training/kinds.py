"""The kinds of task that can be trained: which tasks, which settings, which objective.

This is the only place that knows all of them. A memory task is added in
``rmtscale/study/tasks/catalog.py``; another objective is a folder beside ``memory_tasks`` and
``language``, an entry here and an evaluation in ``rmtscale/cli/evaluate.py``. Nothing heavy is
loaded before an objective is made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmtscale.study.tasks.catalog import TASKS
from rmtscale.study.training.language.settings import LANGUAGE_TASKS, LanguageSettings
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.settings import LoopSettings
from rmtscale.units import require_one_of

if TYPE_CHECKING:
    from rmtscale.study.training.objective import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKind:
    """Tasks that share settings and an objective."""

    label: str
    """Name of one of them in a message, such as ``a memory task``."""
    tasks: Collection[str]
    """Names of the tasks."""
    settings: type[LoopSettings]
    """Settings of a training."""
    make_objective: Callable[[Any, Path], Objective]
    """Builds the objective of settings and of the folder of packed text."""
    packs_text: bool
    """Whether a training packs its text into a folder that several trainings may share."""


def _memory_objective(settings: MemoryTaskSettings, cache: Path) -> Objective:
    from rmtscale.study.training.memory_tasks.objective import MemoryObjective

    del cache
    return MemoryObjective(settings)


def _language_objective(settings: LanguageSettings, cache: Path) -> Objective:
    from rmtscale.study.training.language.objective import LanguageObjective

    return LanguageObjective(settings, cache)


KINDS = {
    "memory": TaskKind(
        label="a memory task",
        tasks=TASKS,
        settings=MemoryTaskSettings,
        make_objective=_memory_objective,
        packs_text=False,
    ),
    "language": TaskKind(
        label="a language task",
        tasks=LANGUAGE_TASKS,
        settings=LanguageSettings,
        make_objective=_language_objective,
        packs_text=True,
    ),
}


def task_names() -> list[str]:
    """Lists the tasks of every kind."""
    return [task for kind in KINDS.values() for task in kind.tasks]


def kind_name(task: str) -> str:
    """Finds the name of a task's kind.

    Raises:
        BadInput: no such task.
    """
    require_one_of("task", task, task_names())
    return next(name for name, kind in KINDS.items() if task in kind.tasks)


def kind_of(task: str) -> TaskKind:
    """Finds the kind of a task.

    Raises:
        BadInput: no such task.
    """
    return KINDS[kind_name(task)]


def make_objective(settings: LoopSettings, cache: Path) -> Objective:
    """Builds what a training optimizes: model, data, curriculum, validation.

    Args:
        settings: of the training.
        cache: folder of the packed text.

    Raises:
        BadInput: no such task, or settings that its objective refuses.
    """
    return kind_of(settings.task).make_objective(settings, cache)
