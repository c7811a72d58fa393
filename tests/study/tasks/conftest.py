"""Shared: noise without the words of the tasks, and every kind of task."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rmtscale.study.tasks.babi import pool
from rmtscale.study.tasks.noise import Noise
from rmtscale.study.tasks.task import Task
from rmtscale.study.tasks.vocabulary import Vocabulary
from tests.study.tasks.made_noise import made_documents
from tests.study.tasks.task_kinds import KINDS


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


@pytest.fixture
def few_stories(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pools of seconds, made anew for each test."""
    pool.load_pool.cache_clear()
    monkeypatch.setattr(pool, "STORIES", {"train": 300, "validation": 40})
    yield
    pool.load_pool.cache_clear()
