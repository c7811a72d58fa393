"""Held against the original bAbI files: the same sentences, the same stories, the same answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256

import numpy as np
import pytest

from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.reasoning import OPPOSITE, all_rows
from rmtscale.study.tasks.sample import Story
from tests.study.tasks.babi import Asked, all_stories, few_stories
from tests.study.tasks.slow_solver import solve_moves, solve_relations

Reader = Callable[[int], list[Asked]]
SOURCES = pytest.mark.parametrize("read", [few_stories, all_stories], ids=["few", "all"])


@cache
def drawn_reasoning() -> frozenset[tuple[tuple[str, ...], str, str]]:
    """Every story that either split can draw; 7,680 there are."""
    rng = np.random.default_rng(4)
    stories: set[tuple[tuple[str, ...], str, str]] = set()
    for split, draws in (("train", 140_000), ("validation", 14_000)):
        task = make_task("reasoning", split=split)
        for _ in range(draws):
            story = task.story(rng)
            stories.add((story.facts, story.question, story.answer))
    return frozenset(stories)


@SOURCES
def test_the_fixture_is_what_it_says(read: Reader) -> None:
    assert len(read(1)) >= 60
    assert len(read(4)) >= 36
    assert {asked.answer for asked in read(1) + read(4)} == set(make_task("memorize").classes)


@SOURCES
def test_every_original_move_is_one_of_ours(read: Reader) -> None:
    task = make_task("detect-memorize")
    originals = {fact for asked in read(1) for fact in asked.told}
    assert originals <= set(task.all_facts())
    assert {asked.question for asked in read(1)} == set(task.all_questions())
    if read is all_stories:
        assert originals == set(task.all_facts())


@SOURCES
def test_every_original_relation_is_one_of_ours(read: Reader) -> None:
    task = make_task("reasoning")
    facts = {fact for asked in read(4) for fact in asked.told}
    questions = {asked.question for asked in read(4)}
    assert facts <= set(task.all_facts())
    assert questions <= set(task.all_questions())
    if read is all_stories:
        assert facts == set(task.all_facts())
        assert questions == set(task.all_questions())


@SOURCES
def test_every_original_reasoning_story_can_be_drawn(read: Reader) -> None:
    """The same two facts, in the role they have, the same question, the same answer."""
    ours = drawn_reasoning()
    assert len(ours) == 240 * 4 * 2 * 2  # rows, tellings, asked fact, form
    for asked in read(4):
        (other,) = (fact for fact in asked.told if fact != asked.supporting)
        assert ((asked.supporting, other), asked.question, asked.answer) in ours


@SOURCES
def test_the_solver_gives_every_original_answer(read: Reader) -> None:
    for number, solve in ((1, solve_moves), (4, solve_relations)):
        for asked in read(number):
            assert solve(" ".join((*asked.told, asked.question))) == [asked.answer]


@SOURCES
def test_a_wrong_original_answer_would_be_seen(read: Reader) -> None:
    """Turning one fact of a story round changes what the solver says of it."""
    asked = next(one for one in read(4) if " east " in one.supporting)
    told = [
        fact.replace(" east ", " west ") if fact == asked.supporting else fact
        for fact in asked.told
    ]
    assert solve_relations(" ".join((*told, asked.question))) != [asked.answer]


@pytest.mark.parametrize("persons", [1, 2, 4, 30])
def test_every_move_story_is_answered_by_the_solver(persons: int) -> None:
    rng = np.random.default_rng(persons)
    task = make_task("memorize", persons=persons, distractors=(persons - 1) * 2)
    for _ in range(2000):
        story = task.story(rng)
        assert solve_moves(text(rng, story)) == [story.answer]
        assert len({fact.split()[0] for fact in story.facts}) == persons
        asked = story.question[len("Where is ") : -1]
        assert [fact.startswith(f"{asked} ") for fact in story.facts] == [
            True,
            *[False] * (len(story.facts) - 1),
        ]
        assert set(story.facts) <= set(task.all_facts())


@pytest.mark.parametrize("form", ["direct", "inverse", "both"])
@pytest.mark.parametrize("distractors", [0, 1, 2])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_reasoning_story_has_one_answer(form: str, distractors: int, split: str) -> None:
    rng = np.random.default_rng(distractors)
    task = make_task("reasoning", form=form, distractors=distractors, split=split)
    for _ in range(500):
        story = task.story(rng)
        assert solve_relations(text(rng, story)) == [story.answer]
        assert set(story.facts) <= set(task.all_facts())
        assert story.question in task.all_questions()
        direct = " ".join(story.facts[0].split()[3:]).rstrip(".")
        if form != "both":
            assert (story.question == f"What is {direct}?") == (form == "direct")


@pytest.mark.parametrize("form", ["direct", "both"])
def test_contrasts_differ_in_the_direction_alone(form: str) -> None:
    rng = np.random.default_rng(0)
    task = make_task("reasoning", form=form, contrast=True)
    for _ in range(500):
        story = task.story(rng)
        (_, one, place), (_, other, same) = (
            (words[1], words[3], words[-1]) for words in (fact.split() for fact in story.facts)
        )
        assert place == same
        assert OPPOSITE[one] == other
        assert solve_relations(text(rng, story)) == [story.answer]


def test_answers_are_even() -> None:
    """No place is right more often than another: a sixth each, within five standard errors."""
    rng = np.random.default_rng(0)
    for name in ("memorize", "reasoning"):
        task = make_task(name)
        drawn = [task.classes.index(task.story(rng).answer) for _ in range(12_000)]
        counts = np.bincount(drawn, minlength=6)
        assert np.abs(counts - 2000).max() < 5 * (12_000 * 5 / 36) ** 0.5


def test_the_splits_of_reasoning_share_no_pair_of_facts() -> None:
    """Nor do they say the same of two places in other words; single facts are in both."""
    pairs: dict[str, set[frozenset[str]]] = {}
    meant: dict[str, set[frozenset[frozenset[tuple[str, str, str]]]]] = {}
    facts: dict[str, set[str]] = {}
    rng = np.random.default_rng(1)
    turned = {"north": "south", "south": "north", "east": "west", "west": "east"}
    for split, draws in (("train", 40_000), ("validation", 4_000)):
        task = make_task("reasoning", split=split)
        pairs[split] = {frozenset(task.story(rng).facts) for _ in range(draws)}
        facts[split] = {fact for pair in pairs[split] for fact in pair}
        meant[split] = set()
        for pair in pairs[split]:
            said = []
            for fact in pair:
                one, way, two = (fact.rstrip(".").split()[index] for index in (1, 3, 6))
                said.append(frozenset({(one, way, two), (two, turned[way], one)}))
            meant[split].add(frozenset(said))
    assert len(pairs["train"]) == 216 * 4
    assert len(pairs["validation"]) == 24 * 4
    assert not pairs["train"] & pairs["validation"]
    assert not meant["train"] & meant["validation"]
    assert len(facts["train"]) == 120


def test_distractors_never_tell_a_row() -> None:
    rows = {frozenset(row[1:]) for row in all_rows()}
    assert len(rows) == 20
    task = make_task("reasoning", distractors=2, split="validation")
    rng = np.random.default_rng(2)
    for _ in range(500):
        told = [fact.rstrip(".").split() for fact in task.story(rng).facts]
        axes = [words[3] in ("east", "west") for words in told]
        assert axes[0] == axes[1]
        assert axes[2] != axes[3]
        story, others = ({w[i] for w in part for i in (1, 6)} for part in (told[:2], told[2:]))
        assert len(story) == len(others) == 3
        assert not story & others


def test_the_split_of_reasoning_never_changes() -> None:
    """Checkpoints were trained on it: all rows in the order they had from the first day on."""
    digest = sha256(repr(all_rows()).encode()).hexdigest()
    assert digest == "3c7e05def5c77694d3191055f5eaf76a8d5f9cad88946c88f3a85dd78ed4661a"


def text(rng: np.random.Generator, story: Story) -> str:
    """A story as one text, its facts in random order."""
    order = rng.permutation(len(story.facts))
    return " ".join((*(story.facts[index] for index in order), story.question))
