"""From which length on one cost stays below another."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

LONGEST_TOKENS = 10**9
"""Where a search ends; nobody has fed a transformer more."""


def break_even_tokens(
    full: Callable[[int], float],
    rmt: Callable[[int], float],
    segment_tokens: int,
    longest_tokens: int = LONGEST_TOKENS,
) -> int | None:
    """The smallest length from which ``rmt`` stays below ``full``; None if there is none.

    Args:
        full, rmt: cost of an input of so many tokens, in the same unit.
        segment_tokens: text tokens of a full segment.

    An RMT's cost jumps where a segment begins (its memory tokens are paid then) and grows more
    slowly than full attention's inside it, so a segment's first token is its worst place. Those
    places are looked at on a grid of growing steps first, since the two costs may cross more than
    once, and then one by one behind the last place where ``rmt`` is not the cheaper.
    """

    def cheaper(tokens: int) -> bool:
        return rmt(tokens) < full(tokens)

    starts = range(1, longest_tokens, segment_tokens)
    grid = sorted({0, len(starts) - 1, *(int(1.2**power) for power in range(120))})
    grid = [index for index in grid if index < len(starts)]
    dearer = [index for index in grid if not cheaper(starts[index])]
    if not dearer:
        return 1
    if dearer[-1] == grid[-1]:
        return None
    low, high = dearer[-1], grid[grid.index(dearer[-1]) + 1]
    first = low + bisect_left(range(low, high + 1), True, key=lambda i: cheaper(starts[i]))
    inside = range(starts[first - 1], starts[first] + 1)
    return inside[bisect_left(inside, True, key=cheaper)]


def longest_fitting_tokens(
    peak_bytes: Callable[[int], int], memory_bytes: int, longest_tokens: int = LONGEST_TOKENS
) -> int | None:
    """The longest input whose peak fits; None if nothing does, ``longest_tokens`` if all do."""
    lengths = range(1, longest_tokens + 1)
    fitting = bisect_left(lengths, True, key=lambda tokens: peak_bytes(tokens) > memory_bytes)
    return lengths[fitting - 1] if fitting else None
