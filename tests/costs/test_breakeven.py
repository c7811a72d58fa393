"""Break-even lengths against a search that looks at every length."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtscale.costs.breakeven import (
    below_for_good_tokens,
    break_even_tokens,
    growing_steps,
    longest_fitting_tokens,
)
from rmtscale.costs.comparison import QUANTITIES, compare_methods
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.method_estimates import estimate_method
from rmtscale.costs.methods.catalog import METHODS, methods_for
from rmtscale.costs.plan import make_plan
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

LONGEST = 2500


@given(
    text=st.integers(20, 500),
    memory=st.integers(0, 20),
    convention=st.sampled_from(["hoffmann", "matmul", "kaplan", "paper"]),
    name=st.sampled_from(["pythia-14m", "pythia-70m", "pythia-1b"]),
)
@settings(max_examples=8)
def test_the_smallest_length_from_which_it_holds(
    text: int, memory: int, convention: str, name: str
) -> None:
    model, recurrence = PRESETS[name], Recurrence(text + 2 * memory, memory)

    def full(tokens: int) -> int:
        return estimate_flops(model, Workload(tokens=tokens), None, convention).total

    def rmt(tokens: int) -> int:
        return estimate_flops(model, Workload(tokens=tokens), recurrence, convention).total

    found = break_even_tokens(full, rmt, text, LONGEST)
    dearer = [tokens for tokens in range(1, LONGEST) if rmt(tokens) >= full(tokens)]
    if found is None:
        assert dearer[-1] >= LONGEST - text
    else:
        assert found == (dearer[-1] + 1 if dearer else 1)


def test_never_and_always() -> None:
    assert break_even_tokens(lambda _: 1, lambda _: 2, 10) is None
    assert break_even_tokens(lambda _: 2, lambda _: 1, 10) == 1


def test_costs_that_cross_twice() -> None:
    """Cheaper in the middle is not cheaper from there on."""
    crossing = 100_000
    assert break_even_tokens(lambda _: 0, lambda t: -1 if 50 < t < crossing else 1, 10) is None
    late = break_even_tokens(lambda _: 0, lambda t: -1 if 50 < t < 90 or t > crossing else 1, 10)
    assert late == crossing + 1


@given(limit=st.integers(0, 10**6), slope=st.integers(1, 50), start=st.integers(0, 1000))
def test_the_longest_that_fits(limit: int, slope: int, start: int) -> None:
    longest = longest_fitting_tokens(lambda tokens: start + slope * tokens, limit, 10**5)
    if longest is None:
        assert start + slope > limit
    else:
        assert start + slope * longest <= limit
        assert longest == 10**5 or start + slope * (longest + 1) > limit


def test_steps_grow_by_a_fifth() -> None:
    assert growing_steps(30) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22, 26, 30]
    assert growing_steps(26) == growing_steps(30)[:-1]
    assert growing_steps(0) == [0]


@given(text=st.integers(1, 40), crossing=st.integers(0, 3000), segment=st.booleans())
@settings(max_examples=40)
def test_wherever_they_cross_it_is_found(text: int, crossing: int, segment: bool) -> None:
    """Inside a segment or where one begins, from the first token on or after thousands."""
    crossing += segment * (-crossing % text)
    found = break_even_tokens(lambda _: 0, lambda t: -1 if t > crossing else 1, text, 4000)
    assert found == crossing + 1


@given(
    constant=st.integers(0, 10**7),
    linear=st.integers(1, 10**4),
    square=st.integers(0, 30),
    rmt=st.tuples(st.integers(0, 10**7), st.integers(1, 10**6)),
    text=st.integers(1, 40),
    off=st.lists(st.floats(1.0, 1.7), min_size=1, max_size=5),
)
@settings(max_examples=100)
def test_no_length_is_skipped_at_which_they_may_cross(
    constant: int, linear: int, square: int, rmt: tuple[int, int], text: int, off: list[float]
) -> None:
    """Costs that are off by a factor at some lengths; infinitely rough is a search of all."""

    def full(tokens: int) -> float:
        return (constant + tokens * (linear + square * tokens)) * off[tokens % len(off)]

    def recurrent(tokens: int) -> float:
        return (rmt[0] + rmt[1] * -(-tokens // text)) / off[tokens % 7 % len(off)]

    searched = break_even_tokens(full, recurrent, text, 10**6, rough=max(off) ** 2)
    assert searched == break_even_tokens(full, recurrent, text, 10**6, rough=math.inf)


def test_few_lengths_are_looked_at() -> None:
    asked = []

    def full(tokens: int) -> int:
        asked.append(tokens)
        return tokens * tokens

    assert break_even_tokens(full, lambda tokens: 900 * tokens, 1) == 901
    assert len(asked) < 30


def test_a_dear_place_behind_a_cheap_one_is_seen() -> None:
    """Every stretch that is a third of its beginning long."""
    for start in (1_000, 1_400, 2_000, 2_700, 3_800, 5_300, 7_500):
        end = start + start // 3
        found = break_even_tokens(lambda _: 0, lambda t: 1 if start <= t < end else -1, 1)  # noqa: B023
        assert found == end


@given(
    rises=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=400),
    offset=st.integers(-20, 20),
)
def test_the_last_of_many_crossings(rises: list[tuple[int, int]], offset: int) -> None:
    less, more = [offset], [0]
    for up, other in rises:
        less.append(less[-1] + up)
        more.append(more[-1] + other)
    longest = len(rises)
    found = below_for_good_tokens(
        lambda lengths: [less[tokens] for tokens in lengths],
        lambda lengths: [more[tokens] for tokens in lengths],
        longest,
    )
    last = max((n for n in range(1, longest + 1) if less[n] >= more[n]), default=0)
    assert found == (None if last == longest else last + 1)


@pytest.mark.parametrize("name", ["opt-1.3b", "bert-large-cased"])
def test_methods_cross_for_the_last_time_where_counting_every_length_says(name: str) -> None:
    """Up to 9,000 tokens, in which methods that work in blocks cross many times."""
    model, longest = PRESETS[name], 9000
    methods = methods_for(model)
    comparison = compare_methods(model, methods, [longest])
    every = range(1, longest + 1)
    rows = {method.name: estimate_method(model, every, method).rows() for method in methods}
    seen = 0
    for quantity in QUANTITIES:
        costs = {each: [row[quantity] for row in rows[each]] for each in rows}
        for cost in costs.values():  # which the search rests on
            assert all(one <= other for one, other in pairwise(cost))
        for pair in combinations(costs, 2):
            found = comparison.overtaking(quantity, *pair)
            if found is None:
                assert costs[pair[0]][-1] == costs[pair[1]][-1]
                continue
            below = [a < b for a, b in zip(costs[found.less], costs[found.more], strict=True)]
            last = max(
                (n for n, is_below in zip(every, below, strict=True) if not is_below), default=0
            )
            assert (last + 1 == found.tokens) == (last < longest)
            seen += 1 < found.tokens <= longest
    assert seen > 20


@pytest.mark.parametrize(
    ("model", "less", "more", "tokens"),
    [
        ("bert-large-cased", "bigbird", "rmt", 8322),
        ("bert-large-cased", "longformer", "full", 3110),
        ("opt-1.3b", "transformer-xl", "retnet", 6604),
    ],
)
def test_methods_in_blocks(model: str, less: str, more: str, tokens: int) -> None:
    """Values that counting every length up to 60,000 gave."""
    methods = [METHODS[less], METHODS[more]]
    (found,) = (
        each
        for each in compare_methods(PRESETS[model], methods, [512]).overtakings
        if each.quantity == "flops"
    )
    assert (found.less, found.tokens) == (less, tokens)


def test_a_plan_of_a_method_in_blocks_says_the_same() -> None:
    bert = PRESETS["bert-large-cased"]
    for name, tokens in (("longformer", 3110), ("bigbird", 967)):
        plan = make_plan(
            bert, Workload(tokens=1), METHODS[name], find_device("a100-80gb"), "matmul"
        )
        assert plan.fewer_flops_tokens == tokens
