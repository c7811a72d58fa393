"""Stories that have come to something rare: which those are, and how many of them are drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rmtscale.errors import BadInput
from rmtscale.study.figures.babilong.recipes import recipes
from rmtscale.study.tasks.babi.names import QAS, STATEFUL
from rmtscale.study.tasks.babi.pool import load_pool
from rmtscale.study.tasks.babi.stories import Drawer
from rmtscale.study.tasks.babilong import Babilong
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.vocabulary import Vocabulary
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from tests.study.tasks.story_solver import rare_by_hand, solve
from tests.tiny_training import write_background

pytestmark = pytest.mark.usefixtures("few_stories")


@pytest.mark.parametrize("qa", QAS)
def test_what_is_rare(qa: str) -> None:
    drawer = Drawer(qa, 3, qa in STATEFUL)
    asked = [one for _ in range(150) for one in drawer.story()]
    for one in asked:
        assert {each.question for each in one.rare} == rare_by_hand(qa, one.facts)
        assert len({each.question for each in one.rare}) == len(one.rare)
        for question, answer in one.rare:
            assert solve(" ".join((*one.facts, question))) == answer.lower()
    some = sum(bool(one.rare) for one in asked) / len(asked)
    assert (some > 0.1) == (qa in STATEFUL)
    assert some < 0.7


def share_of_rare(task: Babilong, tokens: int, draws: int = 600) -> float:
    """Draws stories, and counts those in which something rare can be asked."""
    vocabulary = Vocabulary.build(["one two."], 200, task.words())
    (pool,) = task.pools
    rare = {(one.facts, one.question): one.rare for one in pool.asked}
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(draws):
        story = task.story_within(rng, tokens, vocabulary)
        own = [one for one in rare[story.facts, story.question] if one.question != story.question]
        if task.rare_share and task.closing:
            assert set(story.closing[: len(own)]) == set(own)
        assert len({one.question for one in story.closing}) == len(story.closing)
        assert story.question not in {one.question for one in story.closing}
        found += bool(rare[story.facts, story.question])
    return found / draws


@pytest.mark.parametrize("qa", STATEFUL)
@pytest.mark.parametrize("more", [{"closing": 12}, {"between": True}, {}])
def test_a_share_of_the_stories_has_something_rare(qa: str, more: dict[str, object]) -> None:
    task = make_task("babilong", stories=qa, ask_state=True, **more)
    assert isinstance(task, Babilong)
    usual = share_of_rare(task, 3000)
    half = share_of_rare(replace(task, rare_share=0.5), 3000)
    assert half == pytest.approx(0.5 + 0.5 * usual, abs=0.07)
    assert share_of_rare(replace(task, rare_share=1.0), 3000) == 1.0


@pytest.mark.parametrize(("qa", "usual", "half"), [("qa2", 0.3, 0.7), ("qa3", 0.43, 1.5)])
def test_rare_questions_of_a_sample(qa: str, usual: float, half: float) -> None:
    """As reports/babilong/tried says of all stories; here are a twentieth of them."""
    vocabulary = Vocabulary.build(["one two."], 200, make_task("babilong", stories=qa).words())
    for share, wanted in ((0.0, usual), (0.5, half)):
        task = make_task("babilong", stories=qa, ask_state=True, closing=12, rare_share=share)
        rng, asked = np.random.default_rng(6), 0
        for _ in range(1500):
            story = task.story_within(rng, 1400, vocabulary)
            rare = rare_by_hand(qa, story.facts)
            asked += sum(one in rare for one in (story.question, *(q for q, _ in story.closing)))
        assert asked / 1500 == pytest.approx(wanted, rel=0.2)


def test_where_nothing_rare_fits_any_story_is_drawn() -> None:
    pool = load_pool("qa3", "generated", "train", True)
    vocabulary = Vocabulary.build(["one two."], 200, make_task("babilong", stories="qa3").words())
    shortest = min(pool.lengths(vocabulary)[[bool(one.rare) for one in pool.asked]])
    rng = np.random.default_rng(0)
    below = [pool.draw(rng, int(shortest) - 1, vocabulary, rare=True) for _ in range(50)]
    assert not any(one.rare for one in below)
    assert pool.draw(rng, int(shortest), vocabulary, rare=True).rare
    plain = load_pool("qa1", "generated", "train")
    assert not plain.draw(rng, 1000, vocabulary, rare=True).rare


def test_without_a_share_the_same_stories_are_drawn() -> None:
    task = make_task("babilong", stories="qa3", ask_state=True, closing=12)
    assert isinstance(task, Babilong)
    vocabulary = Vocabulary.build(["one two."], 200, task.words())
    (pool,) = task.pools
    one, other = (np.random.default_rng(2) for _ in range(2))
    for _ in range(50):
        story = task.story_within(one, 3000, vocabulary)
        assert int(other.random() * 1) == 0, "the task is drawn first"
        left = 3000 - 12 * pool.longest_closing(vocabulary)
        asked = pool.draw(other, left, vocabulary)
        others = list(asked.closing)
        closing = [
            others.pop(int(other.random() * len(others))) for _ in range(min(12, len(others)))
        ]
        assert (story.question, list(story.closing)) == (asked.question, closing)


def test_trainings_have_the_share_and_validations_do_not(tmp_path: Path) -> None:
    settings = replace(
        recipes(str(write_background(tmp_path)))["quick-babilong-qa1-0"],
        task_options={"stories": "qa2", "ask_state": True},
        closing_questions=5,
        between_share=0.5,
        replay_lost=False,
        rare_share=0.5,
    )
    data = MemoryObjective(settings).data
    for kind in ({}, {"between": True}, {"closing": True}):
        for split, share in (("train", 0.5), ("validation", 0.0)):
            task = data.split_task(split, **kind)
            assert isinstance(task, Babilong)
            assert (task.split, task.rare_share) == (split, share)


@pytest.mark.parametrize(
    ("task", "options", "share", "message"),
    [
        ("memorize", {}, 0.5, "rare share 0.5 of task 'memorize': expected 0, nothing is rare in"),
        ("babilong", {"stories": "qa1"}, 0.5, "rare_share 0.5 of generated stories of qa1: expec"),
        (
            "babilong",
            {"stories": "qa2", "source": "original"},
            0.5,
            "rare_share 0.5 of original stories of qa2: expected 0, or generated ones with one of",
        ),
        ("babilong", {"stories": "qa2"}, 1.5, "rare share 1.5: expected 0 to 1"),
    ],
)
def test_a_share_of_what_is_not_there_is_refused(
    task: str, options: dict[str, object], share: float, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        MemoryObjective(
            MemoryTaskSettings(
                backbone="gpt-neox-tiny", task=task, task_options=options, rare_share=share
            )
        )


@pytest.mark.parametrize("share", [True, "half", -0.1, 2])
def test_a_task_takes_a_share_only(share: object) -> None:
    with pytest.raises(BadInput, match=r"rare_share .*: expected 0 to 1"):
        make_task("babilong", stories="qa2", rare_share=share)
