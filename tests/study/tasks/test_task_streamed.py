"""Rows that are written when they are read: the same text in whatever pieces, facts in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.study.tasks.babi.asked import Asked
from rmtscale.study.tasks.babi.stories import Drawer
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.lengths import LENGTHS, parse_lengths, samples_of, words_of
from rmtscale.study.tasks.noise import Noise
from rmtscale.study.tasks.splice import Splice, copied_from
from rmtscale.study.tasks.streamed import StreamedRow, StreamedRows
from rmtscale.study.tasks.vocabulary import Vocabulary
from tests.study.tasks.made_noise import made_documents
from tests.study.tasks.story_solver import solve


@pytest.fixture(scope="module")
def plain_noise() -> Noise:
    words = make_task("babilong").words()
    return Noise(made_documents(), Vocabulary.build(made_documents(), 3000, words))


def stories(qa: str, count: int) -> list[Asked]:
    drawer = Drawer(qa, 5)
    return [asked for _ in range(count) for asked in drawer.story()]


def whole(row: StreamedRow) -> np.ndarray:
    out = np.empty(row.tokens, dtype=np.int32)
    row.read(0, out)
    return out


@settings(max_examples=60)
@given(data=st.data())
def test_any_part_of_a_splice_is_that_of_the_whole(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 6), max_size=6))
    gaps = data.draw(
        st.lists(st.integers(0, 9), min_size=len(lengths) + 1, max_size=len(lengths) + 1)
    )
    question = np.full(data.draw(st.integers(1, 4)), 500, dtype=np.int32)
    positions, expected, at, noise = [], [], 0, iter(range(1000))
    facts = [np.full(n, 100 + i, dtype=np.int32) for i, n in enumerate(lengths)]
    for gap, fact in zip(gaps, [*facts, question], strict=True):
        expected += [next(noise) for _ in range(gap)]
        at += gap
        positions.append(at)
        expected += fact.tolist()
        at += len(fact)
    splice = Splice(at, positions[:-1], facts, question)
    begin = data.draw(st.integers(0, at))
    out = np.empty(data.draw(st.integers(0, at - begin)), dtype=np.int32)
    splice.read(begin, out, copied_from(np.arange(1000, dtype=np.int32)))
    assert out.tolist() == expected[begin : begin + len(out)]


@pytest.mark.parametrize("qa", ["qa1", "qa3", "qa5"])
def test_read_in_pieces_it_is_the_same(qa: str, plain_noise: Noise) -> None:
    asked = stories(qa, 2)
    for tokens in (None, 3000, 3 * plain_noise.tokens):
        rows = [
            StreamedRow(np.random.default_rng(number), one, plain_noise, tokens)
            for number, one in enumerate(asked)
            if tokens is not None or number == 4
        ]
        read = StreamedRows(rows)
        ids = np.concatenate(
            [read[:, at : at + 997] for at in range(0, read.shape[1], 997)], axis=1
        )
        assert ids.shape == read.shape
        for row, own in zip(rows, ids, strict=True):
            assert np.array_equal(whole(row), own)


@pytest.mark.parametrize("qa", ["qa1", "qa2", "qa3", "qa4", "qa5"])
def test_a_row_tells_its_story(qa: str, plain_noise: Noise) -> None:
    words = plain_noise.vocabulary
    for number, asked in enumerate(stories(qa, 6)):
        row = StreamedRow(np.random.default_rng(number), asked, plain_noise, 4000)
        question = len(words.encode(asked.question))
        ids = whole(row)
        assert ids[-question:].tolist() == words.encode(asked.question)
        text = " ".join(words.decode(ids[:-question].tolist()))
        assert solve(f"{text} . {asked.question}".replace(" .", ".")) == asked.answer.lower()


def test_without_its_facts_a_row_is_noise_read_once(plain_noise: Noise) -> None:
    """All text comes once before any of it comes again."""
    asked = Asked((), 0, "Where is Mary?", "garden", 0)
    question = len(plain_noise.vocabulary.encode(asked.question))
    row = StreamedRow(np.random.default_rng(0), asked, plain_noise, plain_noise.tokens + question)
    once = whole(row)[:-question]
    assert np.array_equal(np.sort(once), np.sort(plain_noise.ids))
    assert not np.array_equal(once, plain_noise.ids)
    longer = StreamedRow(np.random.default_rng(0), asked, plain_noise, 2 * plain_noise.tokens)
    assert np.array_equal(whole(longer)[: len(once)], once)


def test_facts_stand_at_boundaries_that_are_drawn_alike(plain_noise: Noise) -> None:
    asked = stories("qa1", 1)[-1]
    words = plain_noise.vocabulary
    first = words.encode(asked.facts[0])
    question = len(words.encode(asked.question))
    noise_only = StreamedRow(np.random.default_rng(1), Asked((), 0, "?", "", 0), plain_noise, 2000)
    assert noise_only.tokens == 2000
    means = []
    for seed in range(300):
        row = StreamedRow(np.random.default_rng(seed), asked, plain_noise, 2000)
        ids = whole(row).tolist()
        places = [at for at in range(2000) if ids[at : at + len(first)] == first]
        assert places
        means.append(places[0] / (2000 - question))
    # The first of ten in order: the mean of the least of ten uniform numbers is 1/11.
    assert np.mean(means) == pytest.approx(1 / 11, abs=0.03)


def test_lengths_are_those_of_the_benchmark() -> None:
    assert parse_lengths("1M,0k, 128k") == ("0k", "128k", "1M")
    assert words_of("128k") == 88_592
    assert words_of("10M") == round(10_000_000 * 88_592 / 128_000)
    assert [samples_of(name) for name in ("0k", "32k", "64k", "10M")] == [1000, 1000, 100, 100]
    assert list(LENGTHS.values()) == sorted(LENGTHS.values())
    with pytest.raises(BadInput, match="lengths '3k': expected a list of 0k, 1k"):
        parse_lengths("3k")
