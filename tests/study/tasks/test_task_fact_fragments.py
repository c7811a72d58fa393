"""Pieces of facts in noise: pieces they are, and never a fact."""

from __future__ import annotations

import numpy as np
import pytest

from rmtscale.study.tasks.catalog import TASKS, make_task
from rmtscale.study.tasks.fact_fragments import fragments
from rmtscale.study.tasks.noise import Noise
from rmtscale.study.tasks.vocabulary import Vocabulary
from tests.study.tasks.slow_solver import solve_moves, solve_relations


def test_pieces_lack_the_subject_or_the_place() -> None:
    assert fragments("The hall is west of the den.", 2) == [
        "is west of the den.",
        "west of the den.",
        "of the den.",
        "the den.",
        "den.",
        "The hall is west of the",
    ]


@pytest.mark.parametrize("name", TASKS)
def test_no_piece_is_a_fact(name: str) -> None:
    task = make_task(name)
    facts = task.all_facts()
    for fact in facts:
        for piece in task.fragments_of(fact):
            assert piece in fact
            assert not any(other in piece for other in facts)


@pytest.mark.usefixtures("few_stories")
@pytest.mark.parametrize("name", TASKS)
def test_the_answer_stays_what_it_was(name: str, noise: Noise, vocabulary: Vocabulary) -> None:
    """A solver that knows whole sentences only finds the same one answer."""
    task = make_task(name)
    fact_fragments = task.fact_fragments(vocabulary, 0.05)
    solve = solve_relations if name == "reasoning" else solve_moves
    for seed in range(30):
        rng = np.random.default_rng(seed)
        ids = np.empty(400, dtype=np.int32)
        story, positions, _ = task.write(rng, ids, noise, 120, fact_fragments)
        text = " ".join(vocabulary.decode(ids.tolist()))
        assert solve(text) == [story.answer]
        for position, fact in zip(positions, story.facts, strict=True):
            told = vocabulary.encode(fact)
            assert ids[position : position + len(told)].tolist() == told


def test_how_much_is_written(noise: Noise, vocabulary: Vocabulary) -> None:
    """Half of the samples have none; in the others as many pieces as asked for, and nothing else
    is changed."""
    task = make_task("memorize")
    fact_fragments = task.fact_fragments(vocabulary, 0.01)
    own = {int(one) for fact in task.all_facts() for one in vocabulary.encode(fact)}
    plain, changed = 0, []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        ids, starts = noise.stretch(rng, 1000)
        before = ids.copy()
        written = fact_fragments.scatter(rng, ids, starts)
        assert np.array_equal(ids, before)
        assert written.shape == ids.shape
        if written is ids:
            plain += 1
            continue
        other = written != ids
        assert {int(one) for one in written[other]} <= own
        changed.append(int(other.sum()))
    assert 150 < plain < 250
    # Ten pieces of 1 to 6 tokens, cut at the end and where they meet.
    assert 20 < np.mean(changed) < 50


def test_the_same_generator_writes_the_same(noise: Noise, vocabulary: Vocabulary) -> None:
    fact_fragments = make_task("reasoning").fact_fragments(vocabulary, 0.02)
    found = []
    for _ in range(2):
        rng = np.random.default_rng(7)
        found.append(fact_fragments.scatter(rng, *noise.stretch(rng, 300)))
    first, second = found
    assert np.array_equal(first, second)


def test_a_text_without_any_sentence_start(noise: Noise, vocabulary: Vocabulary) -> None:
    fact_fragments = make_task("memorize").fact_fragments(vocabulary, 1.0)
    ids = np.zeros(20, dtype=np.int32)
    written = [
        fact_fragments.scatter(np.random.default_rng(seed), ids, np.empty(0, dtype=np.int64))
        for seed in range(8)
    ]
    assert any((one != 0).any() for one in written)
