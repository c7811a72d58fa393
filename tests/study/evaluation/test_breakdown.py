"""Where the facts stood that answers rest on: groups against a count by hand, and read back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.records.mapping import Misfit
from rmtscale.rmt.segmenting import cut
from rmtscale.study.evaluation.breakdown import Answered, break_down
from rmtscale.study.records.babilong import BabilongStore
from rmtscale.study.records.breakdown import Counted
from rmtscale.study.tasks.babi.asked import Asked
from tests.synthetic.babilong import babilong

STORY = ("Mary got the milk there.", "John moved to the bedroom.", "Mary travelled to the hallway.")
MILK = Asked(STORY, 3, "Where is the milk?", "hallway", 2, (), (0, 2))
JOHN = Asked(STORY, 3, "Where is John?", "bedroom", 1, (), (1,))


def test_every_sample_is_in_one_group_of_each_kind() -> None:
    answered = [
        Answered(MILK, (9, 49, 99), 100, True),  # the last token of all
        Answered(MILK, (5, 30, 59), 100, False),  # 40 tokens after it: segments of 16, 2 after
        Answered(JOHN, (5, 0, 59), 100, True),  # the first token of all: 6 segments after
        Answered(JOHN, (5, 31, 59), 100, False),
    ]
    found = break_down(answered, 16)
    assert found.depth == Counted(samples=(1, 0, 0, 0, 1, 0, 1, 0, 0, 1), correct=(1, *[0] * 8, 1))
    assert found.facts_after == Counted(samples=(2, 2, 0, 0, 0, 0), correct=(1, 1, 0, 0, 0, 0))
    assert found.segments_after == Counted(samples=(1, 0, 1), correct=(1, 0, 0))
    assert found.segments_after_facts == Counted(samples=(0, 0, 0, 2), correct=(0, 0, 0, 1))
    assert found.segments_spanned == Counted(samples=(2, 2, 0), correct=(1, 1, 0))
    whole = break_down(answered, None)
    assert whole.depth == found.depth
    assert whole.segments_after.samples == whole.segments_spanned.samples == ()


@given(
    tokens=st.integers(30, 3000),
    segment_tokens=st.integers(1, 600),
    data=st.data(),
)
def test_segments_are_those_that_are_read(
    tokens: int, segment_tokens: int, data: st.DataObject
) -> None:
    """Counted on the bounds that a reader cuts a sample at."""
    ends = sorted(data.draw(st.sets(st.integers(0, tokens - 1), min_size=3, max_size=3)))
    sample = Answered(MILK, ends, tokens, True)
    bounds = cut(tokens, segment_tokens)
    read = [next(at for at, (a, b) in enumerate(bounds) if a <= end < b) for end in ends]
    assert sample.segments_after(segment_tokens) == len(bounds) - 1 - read[2]
    assert sample.segments_spanned(segment_tokens) == len({read[0], read[2]})
    assert 0 <= sample.depth() < 10
    assert sample.facts_after == 0
    one = break_down([sample, replace(sample, right=False)], segment_tokens)
    for counted in (one.depth, one.facts_after, one.segments_after, one.segments_spanned):
        assert (counted.total, sum(counted.correct)) == (2, 1)


def test_countings_add_up() -> None:
    one, other = Counted(samples=(1, 2), correct=(1, 0)), Counted(samples=(3,), correct=(2,))
    assert one.plus(other) == other.plus(one) == Counted(samples=(4, 2), correct=(3, 0))


def test_a_record_has_it_or_is_the_line_it_was() -> None:
    record = babilong("qa1", "4k", 0.5)
    line = json.loads(record.to_line())
    assert "breakdown" not in line
    assert "evaluation_began_at" not in line
    assert "right" not in line
    assert not {"ask_state", "closing_questions", "seconds"} & set(line["training"])
    assert BabilongStore.parse_line(record.to_line()) == record
    sample = Answered(MILK, (9, 49, 99), 100, True)
    noted = replace(record, breakdown=break_down([sample] * 1000, 496))
    assert BabilongStore.parse_line(noted.to_line()) == noted
    assert len(noted.to_line()) - len(record.to_line()) < 600
    assert noted.training is not None
    training = replace(noted.training, ask_state=False, between_share=0.0, initializer_range=0.02)
    told = replace(noted, training=replace(training, seconds=9.5))
    assert BabilongStore.parse_line(told.to_line()) == told
    assert babilong("qa1", "4k", 0.5, training=None).to_line()


def test_which_were_right_agrees_with_how_many() -> None:
    record = babilong("qa1", "4k", 0.5, samples=4)
    noted = replace(record, right="0110")
    assert BabilongStore.parse_line(noted.to_line()) == noted
    line = json.loads(noted.to_line())
    for right in ("0111", "0120", "", 110):
        with pytest.raises((Misfit, BadInput)):
            BabilongStore.parse_line(json.dumps({**line, "right": right}))


@pytest.mark.parametrize(
    "depth",
    [
        {"samples": [1], "correct": [2]},
        {"samples": [1, 1], "correct": [1]},
        {"samples": [-1], "correct": [-1]},
        {"samples": ["1"], "correct": [0]},
        {"samples": [1]},
    ],
)
def test_a_breakdown_that_cannot_be(depth: dict[str, object]) -> None:
    sample = Answered(MILK, (9, 49, 99), 100, True)
    record = replace(babilong("qa1", "4k", 0.5), breakdown=break_down([sample], 496))
    line = json.loads(record.to_line())
    line["breakdown"]["depth"] = depth
    with pytest.raises((Misfit, BadInput)):
        BabilongStore.parse_line(json.dumps(line))
