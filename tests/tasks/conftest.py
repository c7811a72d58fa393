"""Shared: noise without the task's sentences, and every kind of task."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rmtscale.tasks.catalog import make_task
from rmtscale.tasks.noise import Noise
from rmtscale.tasks.task import Task
from rmtscale.tasks.vocabulary import Vocabulary

sys.path.insert(0, str(Path(__file__).parent))

from made_noise import made_documents

KINDS: dict[str, Task] = {
    "memorize": make_task("memorize"),
    "memorize of three": make_task("memorize", persons=3),
    "detect": make_task("detect-memorize"),
    "detect among many": make_task("detect-memorize", persons=7, distractors=9),
    "detect at segment starts": make_task("detect-memorize", placement="segment-start", persons=2),
    "detect at a depth": make_task("detect-memorize", placement="depth:0.3", persons=2),
    "reasoning": make_task("reasoning"),
    "reasoning direct": make_task("reasoning", form="direct", split="validation"),
    "reasoning inverse": make_task("reasoning", form="inverse", distractors=1),
    "reasoning at a position": make_task("reasoning", distractors=2, placement="position:17"),
    "reasoning at the start": make_task("reasoning", placement="start"),
    "reasoning at segment starts": make_task("reasoning", placement="segment-start"),
}


@pytest.fixture(params=KINDS)
def task(request: pytest.FixtureRequest) -> Task:
    """Each kind of task."""
    return KINDS[request.param]


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    """Knows every word of the noise and of all tasks."""
    words = sorted({word for task in KINDS.values() for word in task.words()})
    return Vocabulary.build(made_documents(), 2000, words)


@pytest.fixture(scope="session")
def noise(vocabulary: Vocabulary) -> Noise:
    """About 20,000 tokens of made-up sentences."""
    return Noise(made_documents(), vocabulary)
