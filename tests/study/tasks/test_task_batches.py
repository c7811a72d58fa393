"""Batches: a pure function of seed and number, and the very samples the task draws."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.noise import Noise
from rmtscale.study.tasks.task import Task
from rmtscale.study.tasks.vocabulary import Vocabulary, split_words
from tests.study.tasks.batch_digest import digest
from tests.study.tasks.made_noise import made_documents


def test_a_batch_is_the_samples_of_its_generator(task: Task, noise: Noise) -> None:
    batches = Batches(task, noise.vocabulary, noise, 250, 6, 3, 80)
    ids, answers, positions = batches.batch(11)
    assert [str(one.dtype) for one in (ids, answers, positions)] == ["int32", "int64", "int64"]
    assert ids.shape == (6, 250)
    assert positions.shape == (6, task.facts_per_story)
    rng = np.random.default_rng((3, 11))
    for row in range(6):
        sample = task.sample(rng, 250, noise, segment_tokens=80)
        assert np.array_equal(sample.ids, ids[row])
        assert sample.answer == answers[row]
        assert list(sample.fact_positions) == positions[row].tolist()


def test_facts_are_told_by_their_place_among_all(task: Task, noise: Noise) -> None:
    """Those whose words stand in the text until a segment ends; nothing else changes by a bit."""
    vocabulary, facts = noise.vocabulary, task.all_facts()
    batches = Batches(task, vocabulary, noise, 250, 6, 3, 80)
    batch, asked, told = batches.batch_and_told(11)
    assert told.shape == (6, 4, task.facts_per_story)
    for ids, own in zip(batch.ids, told.tolist(), strict=True):
        for end, found in zip((10, 90, 170, 250), own, strict=True):
            text = vocabulary.text(ids[:end])
            read = {
                index for index, fact in enumerate(facts) if " ".join(split_words(fact)) in text
            }
            assert {index for index in found if index >= 0} == read
    assert (told[:, -1] >= 0).all()
    assert (told[:, 0] < 0).any() or task.name == "memorize", "that one stands at the start"
    plain, questions = batches.batch_and_questions(11)
    for one, other in zip((*plain, *questions), (*batch, *asked), strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**40), index=st.integers(0, 10**9))
def test_any_number_at_any_time(seed: int, index: int, noise: Noise) -> None:
    """Asked for first, last or by another object: the same. Its neighbours differ."""

    def make(seed: int) -> Batches:
        return Batches(make_task("reasoning"), noise.vocabulary, noise, 90, 3, seed, 50)

    one, two = make(seed), make(seed)
    first = one.batch(index)
    later = [two.batch(number) for number in (index + 1, 0, index)][-1]
    for mine, other in zip(first, later, strict=True):
        assert np.array_equal(np.asarray(mine), np.asarray(other))
    assert not np.array_equal(first.ids, one.batch(index + 1).ids)
    assert not np.array_equal(first.ids, make(seed + 1).batch(index).ids)


def test_another_process_sees_the_same() -> None:
    """Whatever the order of its sets: a run that was killed goes on with the same data."""
    code = f"import sys; sys.path[:0] = {sys.path!r}; from {digest.__module__} import digest"
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", f"{code}; print(digest())"],
            env={"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == digest()


def test_rows_differ(noise: Noise) -> None:
    task = make_task("detect-memorize")
    batch = Batches(task, noise.vocabulary, noise, 200, 64, 0, 100).batch(0)
    assert len({row.tobytes() for row in batch.ids}) == 64
    assert set(batch.answers.tolist()) == set(range(6))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tokens": 5}, "tokens 5: expected 11 or more"),
        ({"segment_tokens": 9}, "segment tokens 9: expected 11 or more"),
        ({"batch_size": 0}, "batch size 0: expected a whole number of 1 or more"),
        ({"seed": -1}, "seed -1: expected a whole number of 0 or more"),
        ({"seed": 1.5}, "seed 1.5: expected a whole number of 0 or more"),
    ],
)
def test_values_that_cannot_be(changed: dict[str, Any], message: str, noise: Noise) -> None:
    values = {"tokens": 100, "batch_size": 2, "seed": 0, "segment_tokens": 50, **changed}
    with pytest.raises(BadInput, match=message):
        Batches(make_task("memorize"), noise.vocabulary, noise, **values)


def test_more_text_than_there_is(vocabulary: Vocabulary) -> None:
    noise = Noise(made_documents(), vocabulary, repeats=False)
    task = make_task("memorize")
    fits = Batches(task, vocabulary, noise, noise.tokens, 1, 0, 100)
    assert fits.batch(0).ids.shape == (1, noise.tokens)
    with pytest.raises(BadInput, match=f"without repeats: expected {noise.tokens} or less"):
        Batches(task, vocabulary, noise, noise.tokens + 1, 1, 0, 100)


def test_noise_of_another_vocabulary(noise: Noise) -> None:
    other = Vocabulary(noise.vocabulary.words)  # type: ignore[attr-defined]
    with pytest.raises(BadInput, match="noise of another vocabulary"):
        Batches(make_task("memorize"), other, noise, 100, 2, 0, 50)
