"""Cutting: nothing lost, nothing twice, and the batch ends together."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.rmt.segmenting import Step, cut, plan, windows
from tests.rmt.slow_reference import cut_here, cut_text

PLENTY = settings(max_examples=200, derandomize=True)


@PLENTY
@given(length=st.integers(1, 60), size=st.integers(1, 20), side=st.sampled_from(["right", "left"]))
def test_cut_equals_the_slow_one(length: int, size: int, side: str) -> None:
    parts = [list(range(*span)) for span in cut(length, size, side)]
    assert parts == cut_text(range(length), size, side)


def test_the_shorter_segment_is_first_or_last() -> None:
    assert cut(10, 4) == [(0, 2), (2, 6), (6, 10)]
    assert cut(10, 4, "left") == [(0, 4), (4, 8), (8, 10)]
    assert cut(8, 4) == cut(8, 4, "left") == [(0, 4), (4, 8)]
    assert cut(3, 4) == cut(3, 4, "left") == [(0, 3)]


@PLENTY
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    size=st.integers(1, 12),
    side=st.sampled_from(["right", "left"]),
)
def test_every_token_is_in_one_step_and_all_samples_end_in_the_last(
    lengths: list[int], size: int, side: str
) -> None:
    offsets = [max(lengths) - length for length in lengths]
    steps = plan(lengths, size, side, offsets)
    seen: list[list[int]] = [[] for _ in lengths]
    for step in steps:
        assert list(step.rows) == sorted(step.rows)
        for row, start, length in zip(step.rows, step.starts, step.lengths, strict=True):
            assert 1 <= length <= size
            seen[row].extend(range(start, start + length))
    for row, length in enumerate(lengths):
        assert seen[row] == list(range(offsets[row], offsets[row] + length))
    assert steps[-1].rows == tuple(range(len(lengths)))
    assert len(steps) == -(-max(lengths) // size)


def test_a_shorter_sample_skips_early_steps() -> None:
    assert plan([5, 2], 2, offsets=[0, 3]) == (
        Step((0,), (0,), (1,)),
        Step((0,), (1,), (2,)),
        Step((0, 1), (3, 3), (2, 2)),
    )


def test_uniform_steps_are_recognised() -> None:
    assert all(step.uniform(2) for step in plan([5, 5], 2))
    assert not plan([5, 4], 2)[0].uniform(2)
    assert not plan([4, 4], 2, offsets=[0, 1])[0].uniform(2)


@PLENTY
@given(steps=st.integers(1, 30), depth=st.none() | st.integers(1, 35))
def test_windows_cut_where_the_slow_one_cuts(steps: int, depth: int | None) -> None:
    ranges = windows(steps, depth)
    assert [index for window in ranges for index in window] == list(range(steps))
    cuts = [index for index in range(steps) if cut_here(index, steps, depth)]
    assert [window.start for window in ranges[1:]] == cuts
    assert all(len(window) <= (depth or steps) for window in ranges)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plan([3, 0], 2), "sample 1 has 0 text tokens: expected 1 or more"),
        (lambda: cut(0, 2), "length 0: expected a whole number of 1 or more"),
        (lambda: cut(2, 0), "segment tokens 0"),
        (lambda: cut(2, 2, "middle"), "alignment 'middle': expected one of right, left"),
    ],
)
def test_what_cannot_be_cut_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        call()
