"""Tasks by name, their options, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.study.tasks.catalog import TASKS, make_task
from rmtscale.study.tasks.task import PLACES, Task
from tests.study.tasks.task_kinds import KINDS


def test_names() -> None:
    assert list(TASKS) == ["memorize", "detect-memorize", "reasoning", "babilong"]
    for name in TASKS:
        task = make_task(name)
        assert task.name == name
        assert task.classes[:6] == PLACES
        assert len(set(PLACES)) == 6


def test_the_papers_form_is_the_default() -> None:
    memorize, detect, reasoning = (make_task(name) for name in list(TASKS)[:3])
    assert (memorize.placement, detect.placement, reasoning.placement) == ("start", "free", "free")
    assert memorize.facts_per_story == detect.facts_per_story == 1
    assert reasoning.facts_per_story == 2


def test_stored_and_made_again(task: Task) -> None:
    again = make_task(**json.loads(json.dumps(task.to_mapping())))
    assert again == task
    assert again.to_mapping()["name"] == task.name
    assert make_task("reasoning") != KINDS["reasoning direct"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("memorise", {}, "task 'memorise': expected one of memorize, detect-memorize, reasoning"),
        (
            "memorize",
            {"form": "direct"},
            "option form='direct' of task 'memorize': expected one of placement, split, persons, ",
        ),
        (
            "reasoning",
            {"persons": 2},
            "option persons=2 of task 'reasoning': expected one of placement, split, form, dist",
        ),
        ("reasoning", {"form": "both ways"}, "form 'both ways': expected one of direct, inverse"),
        ("reasoning", {"distractors": 3}, "distractors 3: expected 0, 1 or 2"),
        ("reasoning", {"distractors": True}, "distractors True: expected 0, 1 or 2"),
        ("reasoning", {"split": "test"}, "split 'test': expected one of train, validation"),
        ("memorize", {"persons": 0}, "persons 0: expected 1 to 64"),
        ("memorize", {"persons": 65}, "persons 65: expected 1 to 64"),
        ("memorize", {"persons": "2"}, "persons '2': expected 1 to 64"),
        ("memorize", {"distractors": 1}, "distractors 1 with persons 1: expected 0, there is no"),
        (
            "detect-memorize",
            {"persons": 4, "distractors": 2},
            "distractors 2 with persons 4: expected 3 or more",
        ),
    ],
)
def test_what_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as error:
        make_task(name, **options)
    assert str(error.value).startswith(message)


def test_all_persons() -> None:
    task = make_task("memorize", persons=64)
    assert len(set(task.all_questions())) == 64
    assert len(set(task.all_facts())) == 64 * 5 * 6
