"""Facts stand where the placement says, and nowhere more often than it says."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.noise import Noise
from rmtscale.study.tasks.placement import Placement, Room
from rmtscale.study.tasks.vocabulary import Vocabulary

DRAWS, BINS = 3000, 12
BOUNDED = 600
"""Draws where bounds are held and no frequencies."""
# The 0.9999 quantile of chi-square with 11 degrees of freedom.
LIMIT = 37.4


@pytest.fixture(scope="module")
def even(vocabulary: Vocabulary) -> Noise:
    """Sentences of exactly four tokens, so that boundaries are evenly spread."""
    words = [f"w0x{index}" for index in range(50)]
    texts = [f"{words[i % 50]} {words[i // 50]} {words[7]}." for i in range(2000)]
    return Noise([" ".join(texts)], vocabulary)


def chi_square(counts: np.ndarray) -> float:
    """Of counts that should all be the same."""
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


def positions(
    noise: Noise, placement: str, tokens: int, segment: int, name: str, draws: int = DRAWS
) -> np.ndarray:
    """Of the facts of many samples, (draws, facts)."""
    task = make_task(name, placement=placement)
    rng = np.random.default_rng(7)
    return np.array(
        [
            task.sample(rng, tokens, noise, segment_tokens=segment).fact_positions
            for _ in range(draws)
        ]
    )


def binned(found: np.ndarray, tokens: int) -> np.ndarray:
    return np.histogram(found, bins=BINS, range=(0, tokens))[0]


@pytest.mark.parametrize(("name", "fact"), [("detect-memorize", 7), ("reasoning", 8)])
def test_free_is_uniform(name: str, fact: int, even: Noise) -> None:
    """Over the input and over the segment, for each fact of a story on its own.

    The input is one segment, so that no cut takes places away; of two facts each may stand
    anywhere, so the position of one alone is uniform too.
    """
    tokens = 1200 + fact + 8
    found = positions(even, "free", tokens, 4000, name)
    for column in found.T:
        assert chi_square(binned(column, 1200 + fact)) < LIMIT
        assert column.min() < 8
        assert column.max() > 1195


def test_free_is_uniform_over_segments(even: Noise) -> None:
    """Twelve segments of 100: each holds the fact as often, but for the question's room."""
    found = positions(even, "free", 1200, 100, "detect-memorize")[:, 0]
    counts = np.bincount(found // 100, minlength=12)
    assert chi_square(counts[:11]) < LIMIT
    assert 0.75 < counts[11] / counts[:11].mean() < 1.05


def test_not_uniform_is_seen(even: Noise) -> None:
    found = positions(even, "depth:0.5", 1200, 4000, "detect-memorize")
    assert chi_square(binned(found, 1200)) > 100 * LIMIT


def test_free_stands_between_sentences(noise: Noise) -> None:
    """What precedes a fact is the end of a sentence, unless the noise ends (or starts) there."""
    task = make_task("detect-memorize", persons=3)
    rng = np.random.default_rng(8)
    stop = noise.vocabulary.encode(".")[0]
    for _ in range(500):
        sample = task.sample(rng, 400, noise, segment_tokens=100)
        starts = sorted(sample.fact_positions)
        end = 400 - 4
        for position in reversed(starts):
            tail = {6, 7} & {end - position}  # nothing but facts up to the question
            if tail:
                end = position
                continue
            assert position == 0 or sample.ids[position - 1] == stop


def test_the_order_of_facts_is_free(noise: Noise) -> None:
    """The fact that gives the answer is first in half of the stories, at every placement."""
    for placement in ("free", "start", "segment-start"):
        found = positions(noise, placement, 300, 100, "reasoning")
        first = int((found[:, 0] < found[:, 1]).sum())
        assert abs(first - DRAWS / 2) < 5 * (DRAWS / 4) ** 0.5


def test_segment_starts(noise: Noise) -> None:
    """Where a segment starts, or right after the other fact there; all segments alike."""
    found = positions(noise, "segment-start", 20 + 5 * 60, 60, "detect-memorize")[:, 0]
    starts = [0, 20, 80, 140, 200, 260]
    assert set(found.tolist()) == set(starts)
    counts = np.array([(found == start).sum() for start in starts])
    assert chi_square(counts) < 25.7  # 5 degrees of freedom
    pairs = positions(noise, "segment-start", 20 + 5 * 60, 60, "reasoning")
    assert set(pairs.ravel().tolist()) == set(starts) | {start + 8 for start in starts}


def test_a_first_segment_too_short_holds_no_fact(noise: Noise) -> None:
    found = positions(noise, "segment-start", 3 + 2 * 60, 60, "detect-memorize")
    assert set(found.ravel().tolist()) == {3, 63}
    assert set(positions(noise, "start", 3 + 2 * 60, 60, "memorize").ravel().tolist()) == {3}


def test_start(noise: Noise) -> None:
    assert set(positions(noise, "start", 300, 100, "memorize").ravel().tolist()) == {0}
    assert set(positions(noise, "start", 300, 100, "reasoning").ravel().tolist()) == {0, 8}


@pytest.mark.parametrize("depth", [0.0, 0.25, 0.5, 1.0])
def test_depth(depth: float, noise: Noise) -> None:
    """The fact that answers is there, to within a sentence; the other one anywhere."""
    found = positions(noise, f"depth:{depth}", 1000, 1000, "reasoning", BOUNDED)
    room = 1000 - 8 - 8 - 7
    shift = 8 * (found[:, 1] < found[:, 0])
    assert np.abs(found[:, 0] - shift - (1 - depth) * room).max() <= 14
    assert found[:, 1].min() < 20
    assert found[:, 1].max() > 960
    alone = positions(noise, f"depth:{depth}", 1000, 1000, "detect-memorize", BOUNDED)
    assert np.abs(alone - (1 - depth) * (1000 - 4 - 6)).max() <= 14


def test_position(noise: Noise) -> None:
    found = positions(noise, "position:333", 1000, 100, "detect-memorize", BOUNDED)
    assert np.abs(found - 333).max() <= 2 * 13
    beyond = positions(noise, "position:5000", 1000, 100, "detect-memorize", BOUNDED)
    assert np.abs(beyond - 990).max() <= 2 * 13


@pytest.mark.parametrize(
    "text",
    ["", "anywhere", "free:1", "depth", "depth:", "depth:1.1", "depth:-1", "depth:.", "depth:nan"]
    + ["position:", "position:1.5", "position:-1", "start:0", None, 0.5],
)
def test_a_placement_that_is_none(text: object) -> None:
    with pytest.raises(BadInput) as error:
        make_task("detect-memorize", placement=text)
    assert str(error.value).startswith(f"placement {text!r}: expected free, segment-start, start")


@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    tokens=st.integers(1, 24),
    segment=st.integers(6, 12),
    question=st.integers(1, 5),
)
def test_packed_finds_room_where_there_is_any(
    lengths: list[int], tokens: int, segment: int, question: int
) -> None:
    """Against all arrangements in this order: the closest one to the question, if there is one."""
    room = Room(tokens, segment, question)
    packed = room.packed(lengths)
    possible = []
    for starts in product(range(tokens), repeat=len(lengths)):
        stops = [start + length for start, length in zip(starts, lengths, strict=True)]
        apart = all(a <= b for a, b in zip(stops, [*starts[1:], tokens - question], strict=True))
        cuts = range(tokens % segment, tokens, segment)
        whole = all(
            not any(start < cut < stop for cut in cuts)
            for start, stop in zip(starts, stops, strict=True)
        )
        if apart and whole:
            possible.append(list(starts))
    assert (packed[0] >= 0) == bool(possible)
    if possible:
        assert packed == max(possible)


@given(
    amount=st.floats(0, 1),
    tokens=st.integers(24, 200),
    segment=st.integers(16, 60),
    seed=st.integers(0, 99),
)
def test_any_depth_fits(amount: float, tokens: int, segment: int, seed: int) -> None:
    """Two facts never overlap, leave the question its room and lie whole in a segment."""
    lengths, question = [8, 8], 8
    room = Room(tokens, segment, question)
    if room.packed(lengths)[0] < 0:
        return
    starts = np.arange(0, tokens - 24, 9)
    found = Placement("depth", amount).positions(np.random.default_rng(seed), lengths, starts, room)
    one, two = sorted(found)
    assert 0 <= one <= two - 8
    assert two + 8 + question <= tokens
    assert all(room.whole(position, 8) for position in found)
