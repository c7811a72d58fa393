"""Late facts: the last of a story's facts in the last part of an input, the others before it."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations_with_replacement, pairwise
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.study.tasks.babi.pool import drawn_stories
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.noise import Noise, Padding
from rmtscale.study.tasks.placement import KINDS, LateFacts, Placement, Room
from rmtscale.study.tasks.vocabulary import Vocabulary
from tests.committed import ROOT
from tests.study.tasks.made_noise import made_documents

ORDERED = Placement("ordered")


def splits(lengths: list[int], room: Room, late: LateFacts) -> list[int]:
    """Lists the numbers of early facts with which each part holds its own."""
    begin = room.tokens - late.tokens
    return [
        len(lengths) - count
        for count in range(min(late.most, len(lengths)) + 1)
        if sum(lengths[: len(lengths) - count]) <= begin
        and sum(lengths[len(lengths) - count :]) + room.question_tokens <= late.tokens
    ]


@st.composite
def inputs(draw: st.DrawFn) -> tuple[list[int], list[int], Room, LateFacts]:
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    question, late = draw(st.integers(1, 12)), draw(st.integers(1, 60))
    most = draw(st.integers(1, 10))
    noise = draw(st.integers(0, 120))
    tokens = noise + sum(lengths) + question
    starts = sorted(draw(st.sets(st.integers(1, max(noise - 1, 1)), max_size=12)) | {0})
    room = Room(tokens, 20, question)
    return lengths, [at for at in starts if at < noise], room, LateFacts(most, min(late, tokens))


@given(inputs(), st.integers(0, 2**20))
def test_every_fact_stands_in_its_part(
    made: tuple[list[int], list[int], Room, LateFacts], seed: int
) -> None:
    lengths, starts, room, late = made
    rng = np.random.default_rng(seed)
    found = ORDERED.positions(rng, lengths, np.array(starts, dtype=np.int64), room, late)
    ends = [at + length for at, length in zip(found, lengths, strict=True)]
    assert all(end <= at for end, (_, at) in zip(ends, pairwise(found), strict=False)), "in order"
    assert found[0] >= 0
    assert ends[-1] <= room.tokens - room.question_tokens
    noise = room.tokens - room.question_tokens - sum(lengths)
    offsets = [at - sum(lengths[:index]) for index, at in enumerate(found)]
    assert set(offsets) <= {*starts, noise}, "at boundaries"
    begin, allowed = room.tokens - late.tokens, splits(lengths, room, late)
    kept = [
        first
        for first in allowed
        if all(end <= begin for end in ends[:first]) and all(at >= begin for at in found[first:])
    ]
    assert kept or not allowed


def test_numbers_and_places_are_as_likely_as_they_should_be() -> None:
    """All outcomes of a small input, each as often as a count of all draws says."""
    lengths, starts, room = [2, 3, 1], [0, 4, 9, 12, 17], Room(31, 10, 3)
    late, draws = LateFacts(2, 14), 20_000
    ends = [*starts, 22]
    wanted: Counter[tuple[int, ...]] = Counter()
    allowed = splits(lengths, room, late)
    assert allowed == [3, 2, 1]
    for first in allowed:
        split = 31 - 14 - sum(lengths[:first])
        parts = [at for at in ends if at <= split], [at for at in ends if at >= split]
        for early in combinations_with_replacement(parts[0], first):
            for last in combinations_with_replacement(parts[1], 3 - first):
                share = _ways(early) / len(parts[0]) ** first
                share *= _ways(last) / len(parts[1]) ** (3 - first)
                wanted[early + last] += draws * share / len(allowed)
    assert sum(wanted.values()) == pytest.approx(draws)
    rng, found = np.random.default_rng(3), Counter[tuple[int, ...]]()
    for _ in range(draws):
        at = ORDERED.positions(rng, lengths, np.array(starts), room, late)
        found[at[0], at[1] - 2, at[2] - 5] += 1
    assert set(found) <= set(wanted)
    statistic = sum((found[key] - count) ** 2 / count for key, count in wanted.items())
    degrees = len(wanted) - 1
    # The 0.9999 quantile, by Wilson and Hilferty.
    assert statistic < degrees * (1 - 2 / (9 * degrees) + 3.719 * (2 / (9 * degrees)) ** 0.5) ** 3


def _ways(chosen: tuple[int, ...]) -> int:
    """Counts the draws, one after the other, that come out as these in their order."""
    ways = factorial(len(chosen))
    for count in Counter(chosen).values():
        ways //= factorial(count)
    return ways


def test_where_no_number_fits_facts_stand_anywhere() -> None:
    """As without, draw by draw: a first part too short for all but the late ones."""
    lengths, starts = [5, 5, 5, 5], np.array([0, 3, 11])
    room, late = Room(40, 10, 4), LateFacts(1, 30)
    assert splits(lengths, room, late) == []
    with_late, without = np.random.default_rng(5), np.random.default_rng(5)
    for _ in range(50):
        assert ORDERED.positions(with_late, lengths, starts, room, late) == ORDERED.positions(
            without, lengths, starts, room
        )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "ordered"])
def test_facts_in_no_order_have_no_last(kind: str) -> None:
    with pytest.raises(BadInput, match=f"late facts placed {kind}: expected ordered"):
        Placement(kind, 0.5).positions(
            np.random.default_rng(0), [3], np.array([0, 5]), Room(20, 20, 3), LateFacts(1, 10)
        )


def test_the_text_around_them_is_the_same(few_stories: None) -> None:
    """Batches with and without have the same stories, answers and noise."""
    task = make_task("babilong", stories="qa1")
    vocabulary = Vocabulary.build(made_documents(), 900, task.words())
    noise = Noise(made_documents(), vocabulary)
    late = LateFacts(3, 200)
    for seed in range(4):
        plain = Batches(task, vocabulary, noise, 800, 4, seed, 100)
        other = Batches(task, vocabulary, noise, 800, 4, seed, 100, late=late)
        moved = 0
        for own, with_late in zip(plain.batch(2).ids, other.batch(2).ids, strict=True):
            moved += not np.array_equal(own, with_late)
            # The first row of a batch; the draws of later ones follow other draws.
            assert sorted(own) == sorted(with_late)
            break
        assert moved, "a fact stands elsewhere"
    bare = Batches(task, vocabulary, Padding(vocabulary), 200, 2, 0, 100, late=LateFacts(3, 100))
    same = Batches(task, vocabulary, Padding(vocabulary), 200, 2, 0, 100)
    assert np.array_equal(bare.batch(0).ids, same.batch(0).ids), "one boundary, which all stand at"


@pytest.mark.parametrize(
    ("qa", "percent", "stories"), [("qa1", 84, 1000), ("qa2", 65, 1000), ("qa3", 31, 6000)]
)
def test_what_the_page_says_of_stories_without_a_fact_behind_a_burn_in(
    qa: str, percent: int, stories: int
) -> None:
    """A fact misses 3 of 103 segments 100 times in 103, and facts are placed apart. Stories of qa3
    differ most in length: of fewer the share is not known to a percent."""
    drawn = drawn_stories(qa, state=False).first(stories, "train")
    told = [asked.told for story in drawn for asked in story]
    without = sum((100 / 103) ** facts for facts in told) / len(told)
    assert round(100 * without) == percent
    page = " ".join((ROOT / "docs/training.md").read_text(encoding="utf-8").split())
    said = page.split("With a burn-in of 100 segments and 3 with a gradient, ")[1].split(":")[0]
    assert re.search(rf"{percent} % of[a-z ]* {qa}\b", said)
