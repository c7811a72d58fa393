"""BABILong's stories: every original answer follows, and ours are drawn as those are."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rmtscale.errors import BadInput
from rmtscale.study.tasks.babi import grammar, pool, stories
from rmtscale.study.tasks.babi.asked import Asked, facts_digest
from rmtscale.study.tasks.babi.names import QAS, STATEFUL
from rmtscale.study.tasks.babi.original import file_names, parse_file, read_original
from rmtscale.study.tasks.babi.pool import belongs, held_out
from rmtscale.study.tasks.babi.stories import Drawer
from rmtscale.study.tasks.batches import Asked as Read
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.noise import Noise, Padding
from rmtscale.study.tasks.task import PLACES
from rmtscale.study.tasks.vocabulary import split_words
from tests.grids import covering
from tests.study.tasks.held_out import PATH, made
from tests.study.tasks.made_noise import made_documents
from tests.study.tasks.story_solver import last_gifts, solve

AMBIGUOUS = {"train": 20, "test": 2}
STORY = """1 Mary got the milk there.
2 John moved to the bedroom.
3 Mary travelled to the hallway.
4 Where is the milk? \thallway\t1 3
5 Mary put down the milk.
6 Mary went back to the garden.
7 Where is the milk? \thallway\t5 3
1 Fred passed the apple to Jeff.
2 Who gave the apple to Jeff?\tFred\t1
"""


pytestmark = pytest.mark.usefixtures("few_stories")


@pytest.fixture
def originals() -> None:
    if not os.environ.get("RMTSCALE_DATA"):
        pytest.skip("RMTSCALE_DATA names no folder with the original bAbI files")


def text(asked: Asked) -> str:
    return " ".join((*asked.facts, asked.question))


def drawn(qa: str, stories: int, seed: int = 1, state: bool = False) -> list[Asked]:
    drawer = Drawer(qa, seed, state)
    return [asked for _ in range(stories) for asked in drawer.story()]


def test_a_file_is_read() -> None:
    first, second, third = parse_file(STORY.splitlines(), "a story")
    assert first.story is second.story
    assert (first.told, first.answer, first.answering) == (3, "hallway", 2)
    assert (second.told, second.question, second.answering) == (5, "Where is the milk?", 3)
    assert [one.supporting for one in (first, second, third)] == [(0, 2), (2, 3), (0,)]
    assert third.facts == ("Fred passed the apple to Jeff.",)
    assert [solve(text(one)) for one in (first, second)] == ["hallway", "hallway"]
    assert solve(text(third)) == "fred"
    for line in ("Mary left.", "2 Where is Mary?\tgarden", "2 Where is Mary?\tgarden\t7"):
        with pytest.raises(BadInput, match="a story, line 10: expected"):
            parse_file([*STORY.splitlines(), line], "a story")


@pytest.mark.usefixtures("originals")
@pytest.mark.parametrize("qa", QAS)
def test_every_original_answer_follows(qa: str) -> None:
    """Of everything that is at hand: each sentence is one of the grammar, each answer derived."""
    seen = 0
    for split in ("train", "test"):
        asked = read_original(qa, split)
        seen += len(asked)
        assert {fact for one in asked for fact in one.story} <= set(grammar.facts_of(qa))
        assert {one.question for one in asked} <= set(grammar.questions_of(qa))
        assert {one.answer for one in asked} == set(grammar.labels(qa))
        others = [one for one in asked if solve(text(one)) != one.answer.lower()]
        # "What did Bill give to Jeff?", who gave two things: the earlier one is meant now and then.
        assert len(others) == (AMBIGUOUS[split] if qa == "qa5" else 0)
        for one in others:
            assert one.question.startswith("What did ")
            assert one.answer in last_gifts(text(one))
    assert seen == (3000 if qa == "qa3" else 11_000)


@pytest.mark.usefixtures("originals")
def test_every_sentence_of_the_grammar_is_original() -> None:
    for qa in QAS:
        asked = [one for split in ("train", "test") for one in read_original(qa, split)]
        assert {fact for one in asked for fact in one.story} == set(grammar.facts_of(qa))
        assert {one.question for one in asked} == set(grammar.questions_of(qa))


@pytest.mark.parametrize("qa", QAS)
def test_every_answer_of_ours_follows(qa: str) -> None:
    asked = drawn(qa, 300)
    assert {fact for one in asked for fact in one.story} <= set(grammar.facts_of(qa))
    assert {one.question for one in asked} <= set(grammar.questions_of(qa))
    for one in asked:
        assert solve(text(one)) == one.answer.lower()
        # Nothing that is told after the fact it rests on last changes the answer.
        known = " ".join((*one.facts[: one.answering + 1], one.question))
        assert solve(known) == one.answer.lower()
    assert any(one.answering < one.told - 1 for one in asked)


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("qa", QAS)
def test_every_answer_among_the_facts_follows(qa: str, state: bool) -> None:
    asked = drawn(qa, 60, state=state)
    questions = Counter(one.told for each in asked[::5] for one in each.between)
    for each in asked[::5]:
        assert list(each.between) == sorted(each.between, key=lambda one: one.told)
        assert each.as_story().between == ()
        for one in each.as_story(between=True).between:
            told = " ".join((*each.story[: one.told], one.question))
            assert solve(told) == one.answer.lower()
            assert (one.told, one.question) != (each.told, each.question)
        assert len({one[:2] for one in each.between}) == len(each.between), "none twice"
    assert len(questions) > 1, "after one fact and after more"


@pytest.mark.parametrize("qa", STATEFUL)
def test_half_of_the_questions_are_about_the_state(qa: str) -> None:
    """Of every kind, in words and with answers that a model has; the stories stay as they are."""
    asked, own = drawn(qa, 400, state=True), drawn(qa, 400)
    assert [one.as_story() for one in asked] == [one.as_story() for one in own]
    answers = set()
    for each in asked[::5]:
        for one in each.between:
            answers.add(one.answer)
    texts = {one.question for each in asked[::5] for one in each.between}
    benchmark, state = set(grammar.questions_of(qa)), set(grammar.state_questions_of(qa))
    assert texts == benchmark | state
    assert not {one.question for one in asked} - benchmark
    task = make_task("babilong", stories=qa, ask_state=True)
    assert answers == {*PLACES, *grammar.PERSONS}
    assert answers <= set(task.classes)
    assert set(split_words(" ".join((*state, *task.classes)))) <= set(task.words())
    assert task.words() == make_task("babilong", stories=qa).words()
    about_state = sum(one.question in state for each in asked[::5] for one in each.between)
    assert about_state / len(asked[::5]) / np.mean([len(one.story) for one in asked]) > 0.8


def test_only_questions_between_are_about_the_state() -> None:
    """A task that asks for the state reads and evaluates what it did without."""
    plain, task = (make_task("babilong", stories="qa2", ask_state=state) for state in (False, True))
    rngs = [np.random.default_rng(0) for _ in range(2)]
    for _ in range(50):
        assert plain.story(rngs[0]) == task.story(rngs[1])
    assert task.all_questions() == plain.all_questions()
    assert task.classes[: len(plain.classes)] == plain.classes
    between = task.asking_between()
    assert between is not None
    assert between.classes == task.classes
    assert make_task(**task.to_mapping()).classes == task.classes


def test_of_one_fact_all_is_asked_already() -> None:
    for qa in sorted(set(QAS) - set(STATEFUL)):
        assert grammar.state_questions_of(qa) == ()
        assert drawn(qa, 20, state=True) == drawn(qa, 20)


@pytest.mark.parametrize("qa", QAS)
def test_stories_are_the_same_with_questions_among_the_facts(
    qa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [one.as_story() for one in drawn(qa, 20)]
    for name in ("BETWEEN", "BETWEEN_RELATIONS"):
        monkeypatch.setattr(stories, name, 0)
    assert not any(one.between for one in drawn(qa, 20))
    assert [one.as_story() for one in drawn(qa, 20)] == asked


def test_nothing_is_asked_after_what_a_test_file_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pool.load_pool("qa1", "generated", "train").asked[0]
    held = asked.story[:3]
    assert any(one.told == 3 for one in asked.between)
    pool.load_pool.cache_clear()
    pool.drawn_stories.cache_clear()
    monkeypatch.setattr(pool, "held_out", lambda: frozenset({facts_digest(held)}))
    others = [one for one in pool.load_pool("qa1", "generated", "train").asked if one.told > 3]
    pool.drawn_stories.cache_clear()
    same = [one for one in others if one.story == asked.story]
    assert same
    for one in same:
        assert not any(each.told == 3 for each in one.between)
        assert any(each.told == 2 for each in one.between)


@pytest.mark.parametrize(
    ("stories", "more", "bare"),
    covering(
        [*((qa, False) for qa in QAS), *((qa, True) for qa in STATEFUL)],
        [{"between": True}, {"closing": 6}],
        [True, False],
    ),
)
def test_a_batch_says_where_each_answer_is_read(
    stories: tuple[str, bool], more: dict[str, object], bare: bool
) -> None:
    qa, state = stories
    task = make_task("babilong", stories=qa, ask_state=state, **more)
    noise: Noise | Padding = noise_of(task)
    vocabulary = noise.vocabulary
    if bare:
        noise = Padding(vocabulary)
    tokens = 2 * task.least_tokens(vocabulary) + 60
    found, asked = Batches(task, vocabulary, noise, tokens, 12, 0, 64).batch_and_questions(3)
    assert asked.columns.shape == asked.answers.shape == (12, 2 * (task.most_between + 1))
    before, asked = (
        Read(*parts) for parts in zip(*(np.split(x, 2, axis=1) for x in asked), strict=True)
    )
    assert np.array_equal(before.columns + 1, asked.columns)
    assert np.array_equal(before.answers, asked.answers)
    assert (asked.columns[:, -1] == tokens - 1).all()
    assert asked.answers[:, -1].tolist() == found.answers.tolist()
    assert (asked.answers >= 0).sum() > (24 if "between" in more else 12)
    texts = {*task.all_questions(), *(grammar.state_questions_of(qa) if state else ())}
    questions = {text: vocabulary.encode(text) for text in texts}
    for row, columns, answers in zip(found.ids, *asked, strict=True):
        for column, answer in zip(columns, answers, strict=True):
            if answer >= 0:
                read = row[: column + 1].tolist()
                # Of "Who gave the milk to Jeff?" and whatever else ends so, the longer one.
                question = max(
                    (text for text, ids in questions.items() if read[-len(ids) :] == ids), key=len
                )
                told = vocabulary.text(read[: -len(questions[question])])
                for text in sorted(questions, key=len, reverse=True):
                    told = told.replace(vocabulary.text(questions[text]), ".")
                solved = solve(f"{told} . {question}".replace(" .", "."))
                assert solved == task.classes[answer].lower(), (told, question)
        if bare:
            story = row[np.argmax(row != vocabulary.pad_id) :]
            assert (story != vocabulary.pad_id).all()


@pytest.mark.usefixtures("originals")
@pytest.mark.parametrize("qa", QAS)
def test_ours_are_drawn_as_the_original_ones(qa: str) -> None:
    """Facts before a question, facts after the last one needed, kinds of sentence, answers."""
    theirs = [one for split in ("train", "test") for one in read_original(qa, split)]
    ours = drawn(qa, 10_000 if qa == "qa4" else 2000)
    told = [np.array([one.told for one in asked]) for asked in (theirs, ours)]
    for share in (5, 25, 50, 75, 95):
        one, other = (float(np.percentile(counts, share)) for counts in told)
        assert abs(one - other) <= max(2, 0.08 * one), (share, one, other)
    assert told[1].mean() == pytest.approx(told[0].mean(), rel=0.07)
    since = [np.mean([one.told - 1 - one.answering for one in asked]) for asked in (theirs, ours)]
    assert since[1] == pytest.approx(since[0], abs=0.12)
    for kind in (kinds_of, answers_of):
        original, drawn_ones = kind(theirs), kind(ours)
        assert set(original) == set(drawn_ones)
        # The original answers are not quite even: up to 3 points (qa3: bathroom 19.5 %).
        assert max(abs(original[name] - drawn_ones[name]) for name in original) < 0.035


def kinds_of(asked: list[Asked]) -> dict[str, float]:
    """Shares of the second words of all facts: went, got, gave, ..."""
    stories = {id(one.story): one.story for one in asked}.values()
    counts = Counter(
        "is" if fact.startswith("The ") else fact.split()[1] for story in stories for fact in story
    )
    return {kind: count / counts.total() for kind, count in counts.items()}


def answers_of(asked: list[Asked]) -> dict[str, float]:
    counts = Counter(one.answer for one in asked)
    return {answer: count / counts.total() for answer, count in counts.items()}


@pytest.mark.usefixtures("originals")
def test_the_list_of_held_out_stories_is_that_of_the_test_files() -> None:
    assert PATH.read_text(encoding="utf-8") == made()
    for qa in QAS:
        assert all(facts_digest(one.facts) in held_out() for one in read_original(qa, "test"))


@pytest.mark.usefixtures("originals")
@pytest.mark.parametrize("source", ["generated", "original"])
@pytest.mark.parametrize("qa", QAS)
def test_no_story_is_on_two_sides(qa: str, source: str) -> None:
    sides = {
        split: {one.facts for one in pool.load_pool(qa, source, split).asked}
        for split in ("train", "validation", "test")
    }
    assert all(sides.values())
    assert not sides["train"] & sides["validation"]
    assert not (sides["train"] | sides["validation"]) & sides["test"]
    starts = {split: {facts[:2] for facts in found} for split, found in sides.items()}
    assert not starts["train"] & starts["validation"]


@pytest.mark.parametrize("qa", QAS)
def test_both_splits_are_of_the_same_stories_in_their_order(
    qa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is asked for first; what is kept of a story is what a slow loop keeps."""
    monkeypatch.setattr(pool, "STORIES", {"train": 100, "validation": 12})
    wanted = dict[str, list[tuple[str, ...]]]()
    for split, stories_of_split in pool.STORIES.items():
        drawer, wanted[split], kept = Drawer(qa, 0), [], 0
        while kept < stories_of_split * (5 if qa == "qa4" else 1):
            own = [one for one in drawer.story() if belongs(one, split)]
            wanted[split] += [(*one.facts, one.question, one.answer) for one in own]
            kept += bool(own)
    for order in (("validation", "train"), ("train", "validation")):
        pool.load_pool.cache_clear()
        pool.drawn_stories.cache_clear()
        for split in order:
            found = pool.load_pool(qa, "generated", split).asked
            assert [(*one.facts, one.question, one.answer) for one in found] == wanted[split]
    pool.load_pool.cache_clear()


def test_a_held_out_story_is_left_out() -> None:
    asked = drawn("qa1", 1)[0]
    assert belongs(asked, "train") != belongs(asked, "validation")
    known = Asked(("a", "b"), 2, "c?", "d", 0)
    digest = facts_digest(known.facts)
    assert digest not in held_out()
    assert facts_digest(("b", "a")) != digest


@pytest.mark.parametrize("stories", ["qa1", "qa2", "qa3,qa4", "qa1,qa2,qa3,qa4,qa5"])
def test_a_sample_tells_its_story_in_order(stories: str) -> None:
    task = make_task("babilong", stories=stories)
    noise = noise_of(task)
    rng = np.random.default_rng(3)
    for tokens in (task.least_tokens(noise.vocabulary), 300, 2000):
        for _ in range(20):
            sample = task.sample(rng, tokens, noise, segment_tokens=64)
            assert len(sample.ids) == tokens
            assert list(sample.fact_positions) == sorted(sample.fact_positions)
            question = len(noise.vocabulary.encode(sample.question))
            # The noise before the question may be cut.
            read = " ".join(noise.vocabulary.decode(sample.ids[:-question].tolist()))
            answer = solve(f"{read} . {sample.question}".replace(" .", "."))
            assert answer == task.classes[sample.answer].lower()
            for position, fact in zip(sample.fact_positions, sample.facts, strict=True):
                told = noise.vocabulary.encode(fact)
                assert sample.ids[position : position + len(told)].tolist() == told


def test_places_are_drawn_alike() -> None:
    """Each boundary of the noise, its end among them, is as likely for each fact."""
    task = make_task("babilong")
    noise = noise_of(task)
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        sample = task.sample(rng, 1200, noise, segment_tokens=100)
        shares += [position / 1200 for position in sample.fact_positions]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.std(shares) == pytest.approx(12**-0.5, abs=0.02)


def test_pieces_tell_nothing() -> None:
    for qa in QAS:
        facts = set(grammar.facts_of(qa))
        for fact in facts:
            for piece in grammar.pieces(fact):
                assert not any(
                    one.removesuffix(" there.").removesuffix(".") in piece for one in facts
                )


def noise_of(task: object) -> Noise:
    from rmtscale.study.tasks.vocabulary import Vocabulary

    words = task.words()  # type: ignore[attr-defined]
    return Noise(made_documents(), Vocabulary.build(made_documents(), 1500, words))


def test_all_five_have_one_vocabulary() -> None:
    assert make_task("babilong").words() == make_task("babilong", stories="qa5").words()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stories": "qa6"}, "stories 'qa6': expected a list of qa1, qa2"),
        ({"stories": "qa1,qa1"}, "stories 'qa1,qa1': expected a list"),
        ({"stories": 1}, "stories 1: expected a list"),
        ({"between": 1}, "between 1: expected true or false"),
        ({"closing": -1}, "closing -1: expected 0 to 64 questions"),
        ({"ask_state": 0}, "ask_state 0: expected true or false"),
        ({"ask_state": True}, "ask_state True of generated stories of qa1: expected false, or gen"),
        (
            {"ask_state": True, "stories": "qa2", "source": "original"},
            "ask_state True of original stories of qa2: expected false, or generated ones with one",
        ),
        ({"source": "net"}, "source 'net': expected one of generated, original"),
        ({"placement": "start"}, "placement 'start' of babilong: expected ordered"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make_task("babilong", **options)


def test_original_stories_that_are_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RMTSCALE_DATA", raising=False)
    with pytest.raises(BadInput, match="original stories of qa3: expected RMTSCALE_DATA to name"):
        read_original("qa3", "test")
    monkeypatch.setenv("RMTSCALE_DATA", str(tmp_path))
    with pytest.raises(BadInput, match=file_names("qa3", "test")[0]):
        read_original("qa3", "test")
