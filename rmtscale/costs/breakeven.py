"""From which length on one cost stays below another."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from itertools import count, takewhile

LONGEST_TOKENS = 10**9
"""Where a search ends; nobody has fed a transformer more."""


def growing_steps(last: int) -> list[int]:
    """Whole numbers from 0 to ``last``, each about a fifth more than the one before."""
    powers = (int(1.2**power) for power in count())
    return sorted({0, *takewhile(lambda step: step < last, powers), last})


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
    grid = growing_steps(len(starts) - 1)
    dearer = [index for index in grid if not cheaper(starts[index])]
    if not dearer:
        return 1
    low = max(dearer)
    high = next((index for index in grid if index > low), None)
    if high is None:
        return None
    steps = range(low, high)
    first = low + bisect_left(steps, True, key=lambda index: cheaper(starts[index]))
    inside = range(starts[first - 1], starts[first])
    return inside.start + bisect_left(inside, True, key=cheaper)


def longest_fitting_tokens(
    peak_bytes: Callable[[int], int], memory_bytes: int, longest_tokens: int = LONGEST_TOKENS
) -> int | None:
    """The longest input whose peak fits; None if nothing does, ``longest_tokens`` if all do."""
    lengths = range(1, longest_tokens + 1)
    return bisect_left(lengths, True, key=lambda tokens: peak_bytes(tokens) > memory_bytes) or None
