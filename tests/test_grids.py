"""A covering selection shows what it says, and is small; the whole grid is there on demand."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import pytest

from tests.grids import covering

AXES: list[list[list[Any]]] = [
    [["a", "b", "c"]],
    [["a", "b", "c"], [1, 2, 3, 4, 5]],
    [[True, False], ["a", "b", "c"], [1, 2], [{}, {"x": 1}, {"x": 2}]],
]


@pytest.mark.parametrize("axes", AXES)
def test_every_value_is_taken_by_as_few_cases_as_can_be(axes: list[list[Any]]) -> None:
    taken = covering(*axes, whole=False)
    assert len(taken) == max(map(len, axes))
    for column, axis in enumerate(axes):
        for value in axis:
            assert value in [case[column] for case in taken]
        counts = [[case[column] for case in taken].count(value) for value in axis]
        assert max(counts) - min(counts) <= 1, "none much oftener than others"


@pytest.mark.parametrize("axes", AXES[1:])
def test_every_pair_meets(axes: list[list[Any]]) -> None:
    taken = covering(*axes, together=2, whole=False)
    for (one, first), (other, second) in combinations(enumerate(axes), 2):
        for pair in product(first, second):
            assert pair in [(case[one], case[other]) for case in taken]
    assert len(taken) <= 2 * max(len(a) * len(b) for a, b in combinations(axes, 2))


@pytest.mark.parametrize("axes", AXES)
def test_the_whole_grid_in_its_order(axes: list[list[Any]]) -> None:
    everything = list(product(*axes))
    assert covering(*axes, whole=True) == everything
    places = [everything.index(case) for case in covering(*axes, whole=False)]
    assert places == sorted(set(places))
