"""Which cases of a grid every run takes: as few as show every value, or every pair of values."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from itertools import combinations, product
from typing import Any

THOROUGH = os.environ.get("RMTSCALE_THOROUGH") == "1"


def covering(
    *axes: Iterable[Any], together: int = 1, whole: bool = THOROUGH
) -> list[tuple[Any, ...]]:
    """Returns cases of the grid of these axes, in its order; all of them under RMTSCALE_THOROUGH.

    Args:
        together: 1 shows every value of every axis; 2 every pair of values of two axes, for where
            it is their meeting that is tested.
        whole: whether the whole grid is asked for.
    """
    values = [list(axis) for axis in axes]
    cases = list(product(*(range(len(axis)) for axis in values)))
    taken = cases if whole else sorted(_fewest(cases, together))
    return [tuple(axis[at] for axis, at in zip(values, case, strict=True)) for case in taken]


def _fewest(cases: list[tuple[int, ...]], together: int) -> list[tuple[int, ...]]:
    """The case that shows most of what was not seen yet, again and again; of equal ones that whose
    values were taken least."""
    shown = {case: set(combinations(enumerate(case), together)) for case in cases}
    missing = set().union(*shown.values())
    taken: list[tuple[int, ...]] = []
    used: Counter[tuple[int, int]] = Counter()
    while missing:
        best = max(
            cases,
            key=lambda case: (len(shown[case] & missing), -sum(used[at] for at in enumerate(case))),
        )
        taken.append(best)
        missing -= shown[best]
        used.update(enumerate(best))
    return taken
