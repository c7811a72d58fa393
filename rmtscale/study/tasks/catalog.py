"""All memory tasks by name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rmtscale.errors import BadInput
from rmtscale.study.tasks.detect import DetectMemorize
from rmtscale.study.tasks.memorize import Memorize
from rmtscale.study.tasks.reasoning import Reasoning
from rmtscale.study.tasks.task import Task
from rmtscale.units import require_one_of

TASKS: dict[str, type[Task]] = {task.name: task for task in (Memorize, DetectMemorize, Reasoning)}


def make_task(name: str, **options: Any) -> Task:
    """The task called ``name``.

    Raises:
        BadInput: no such task, an option that it does not have, or a value that cannot be.
    """
    require_one_of("task", name, TASKS)
    accepted = [field.name for field in fields(TASKS[name])]
    for option in options:
        if option not in accepted:
            raise BadInput(
                f"option {option!r} of task {name!r}: expected one of {', '.join(accepted)}"
            )
    return TASKS[name](**options)
