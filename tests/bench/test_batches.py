"""How fast samples are made: the data must never keep a GPU waiting."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from rmtscale.study.tasks.background import load_background
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.noise import Noise
from rmtscale.study.tasks.vocabulary import Vocabulary

BATCH, SEGMENTS, SEGMENT_TOKENS = 64, 7, 500
TOKENS_PER_SECOND = 5_000_000


CASES: list[tuple[str, dict[str, Any]]] = [
    ("memorize", {}),
    ("detect-memorize", {}),
    ("detect-memorize", {"persons": 4, "distractors": 6}),
    ("reasoning", {"distractors": 2}),
]


@pytest.fixture(scope="module")
def noise() -> Noise:
    """Of a vocabulary for all cases: making one takes longer than what is measured."""
    documents = load_background("python")
    words = [word for name, options in CASES for word in make_task(name, **options).words()]
    return Noise(documents, Vocabulary.build(documents, 4000, words))


@pytest.mark.parametrize(("name", "options"), CASES)
def test_batches_of_seven_segments(
    benchmark: Any, name: str, options: dict[str, Any], noise: Noise
) -> None:
    """64 samples of 7 segments of 500 tokens, at 5 million tokens per second or more."""
    task = make_task(name, **options)
    tokens = SEGMENTS * SEGMENT_TOKENS
    batches = Batches(task, noise.vocabulary, noise, tokens, BATCH, 0, SEGMENT_TOKENS)
    number = count()
    benchmark.pedantic(lambda: batches.batch(next(number)), rounds=20, warmup_rounds=2)
    seconds = benchmark.stats.stats.min
    assert BATCH * tokens / seconds > TOKENS_PER_SECOND
