"""All memory tasks by name: a new one costs its own file and a line here.

Each is named by where its class is, so that a list of the tasks (a help text, a message) loads
none of them.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rmtscale.errors import BadInput
from rmtscale.units import require_one_of

if TYPE_CHECKING:
    from rmtscale.study.tasks.task import Task

TASKS = {
    "memorize": "rmtscale.study.tasks.memorize:Memorize",
    "detect-memorize": "rmtscale.study.tasks.detect:DetectMemorize",
    "reasoning": "rmtscale.study.tasks.reasoning:Reasoning",
    "babilong": "rmtscale.study.tasks.babilong:Babilong",
}
"""Module and class of each task."""


def make_task(name: str, **options: Any) -> Task:
    """Makes the task called ``name``.

    Raises:
        BadInput: no such task, an option that it does not have, or a value that cannot be.
    """
    require_one_of("task", name, TASKS)
    module, _, class_name = TASKS[name].partition(":")
    task: type[Task] = getattr(import_module(module), class_name)
    accepted = [field.name for field in fields(task)]
    for option, value in options.items():
        if option not in accepted:
            raise BadInput(
                f"option {option}={value!r} of task {name!r}: expected one of {', '.join(accepted)}"
            )
    return task(**options)
