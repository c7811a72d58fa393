"""A sample is exactly as long as asked, its facts are where it says, its answer can be read off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.noise import Noise
from rmtscale.study.tasks.sample import Sample
from rmtscale.study.tasks.task import Task
from rmtscale.study.tasks.vocabulary import Vocabulary
from tests.study.tasks.slow_solver import solve_moves, solve_relations
from tests.study.tasks.task_kinds import KINDS


def check(task: Task, sample: Sample, tokens: int, segment_tokens: int, noise: Noise) -> None:
    """Everything that is true of every sample."""
    vocabulary = noise.vocabulary
    assert sample.ids.dtype == np.int32
    assert sample.ids.shape == (tokens,)
    words = vocabulary.decode(sample.ids.tolist())
    question = vocabulary.decode(vocabulary.encode(sample.question))
    assert words[-len(question) :] == question
    covered: set[int] = set(range(tokens - len(question), tokens))
    for position, fact in zip(sample.fact_positions, sample.facts, strict=True):
        told = vocabulary.decode(vocabulary.encode(fact))
        assert words[position : position + len(told)] == told
        place = set(range(position, position + len(told)))
        assert not place & covered
        covered |= place
        # Right-aligned: cuts are whole segments away from the end.
        segments = {(tokens - 1 - index) // segment_tokens for index in place}
        assert len(segments) == 1
    solve = solve_relations if task.name == "reasoning" else solve_moves
    answer = task.classes[sample.answer]
    assert solve(" ".join(words)) == [answer]
    own = {index for index in range(tokens) if index not in covered}
    assert all(words[index].startswith("w") or words[index] == "." for index in own)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_size(data: st.DataObject, noise: Noise, vocabulary: Vocabulary) -> None:
    task = KINDS[data.draw(st.sampled_from(sorted(KINDS)))]
    smallest = task.least_tokens(vocabulary) if task.facts_per_story < 2 else 20
    segment_tokens = data.draw(st.integers(smallest, 120))
    least = task.least_tokens(vocabulary, segment_tokens)
    tokens = data.draw(st.integers(least, 600) | st.just(least))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sample = task.sample(rng, tokens, noise, segment_tokens=segment_tokens)
    check(task, sample, tokens, segment_tokens, noise)


def test_two_hundred_segments(task: Task, noise: Noise) -> None:
    """Longer than all noise there is: stretches are joined."""
    tokens = 200 * 127 + 3
    sample = task.sample(np.random.default_rng(5), tokens, noise, segment_tokens=127)
    assert tokens > noise.tokens
    check(task, sample, tokens, 127, noise)


def test_the_least_tokens_are_the_least(task: Task, noise: Noise) -> None:
    """One token less is refused, and names what would do; as many as that always do."""
    for segment_tokens in (21, 22, 25, 40, 1000):
        least = task.least_tokens(noise.vocabulary, segment_tokens)
        for seed in range(20):
            rng = np.random.default_rng(seed)
            sample = task.sample(rng, least, noise, segment_tokens=segment_tokens)
            check(task, sample, least, segment_tokens, noise)
        with pytest.raises(BadInput, match=f"tokens {least - 1}: expected {least} or more"):
            task.sample(rng, least - 1, noise, segment_tokens=segment_tokens)


def test_a_story_of_one_fact_counts_as_many_tokens_as_it_has(vocabulary: Vocabulary) -> None:
    """`Mary went back to the hallway.` and `Where is Mary?`: seven and four."""
    assert make_task("memorize").least_tokens(vocabulary) == 7 + 4
    assert make_task("reasoning").least_tokens(vocabulary) == 8 + 8 + 7
    assert make_task("memorize", persons=3).least_tokens(vocabulary) == 3 * 7 + 4


def test_a_segment_too_small(task: Task, noise: Noise) -> None:
    with pytest.raises(BadInput, match=r"segment tokens 10: expected 1[15] or more, a fact and"):
        task.sample(np.random.default_rng(0), 500, noise, segment_tokens=10)


@pytest.mark.parametrize("name", ["tokens", "segment tokens"])
def test_sizes_that_are_none(name: str, noise: Noise) -> None:
    sizes = {"tokens": 100, "segment tokens": 50, name: 0}
    with pytest.raises(BadInput, match=f"{name} 0: expected a whole number"):
        make_task("memorize").sample(
            np.random.default_rng(0),
            sizes["tokens"],
            noise,
            segment_tokens=sizes["segment tokens"],
        )


def test_names_carry_information(noise: Noise) -> None:
    """With more persons, the place of another one is told too, and it is mostly not the answer."""
    task = make_task("memorize", persons=4)
    rng = np.random.default_rng(3)
    differs = 0
    for _ in range(300):
        story = task.story(rng)
        others = {fact.rstrip(".").split()[-1] for fact in story.facts[1:]}
        differs += story.answer not in others
    assert differs > 100  # (5/6) ** 3 of them: 174


def test_a_sample_is_a_function_of_the_generator(task: Task, noise: Noise) -> None:
    one, again, other = (
        task.sample(np.random.default_rng(seed), 300, noise, segment_tokens=100)
        for seed in (1, 1, 2)
    )
    assert np.array_equal(one.ids, again.ids)
    assert (one.facts, one.fact_positions) == (again.facts, again.fact_positions)
    assert not np.array_equal(one.ids, other.ids)
