"""From which length on one cost stays below another."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import count, pairwise, takewhile

LONGEST_TOKENS = 10**9
"""Where a search ends; nobody has fed a transformer more."""
_PIECES = 64
"""At most, of a stretch of lengths in which two costs may still cross."""
_MOST_LENGTHS = 1_000_000
"""That are looked at for one crossing; of any two methods on a preset a third of it was needed."""

Costs = Callable[[list[int]], Sequence[float]]
"""The costs of inputs of so many tokens each, in their order."""


def growing_steps(last: int) -> list[int]:
    """Whole numbers from 0 to ``last``, each about a fifth more than the one before."""
    powers = (int(1.2**power) for power in count())
    return sorted({0, *takewhile(lambda step: step < last, powers), last})


def break_even_tokens(
    full: Callable[[int], float],
    rmt: Callable[[int], float],
    segment_tokens: int | None,
    longest_tokens: int = LONGEST_TOKENS,
    *,
    rough: float = 1.0,
) -> int | None:
    """The smallest length from which ``rmt`` stays below ``full``; None if there is none.

    Args:
        full, rmt: cost of an input of so many tokens, in the same unit.
        segment_tokens: text tokens of a full segment; None of a method that has none, whose cost
            never falls with the length (``below_for_good_tokens``).
        longest_tokens: where the search ends.
        rough: times by which costs may be off the laws of growth that the search rests on: that
            full attention's grows at most with the square of the length, and an RMT's never falls.

    An RMT's cost jumps where a segment begins (its memory tokens are paid then) and grows more
    slowly than full attention's inside it, so a segment's first token is its worst place. Those
    places are looked at on a grid of growing steps first, since the two costs may cross more than
    once, and then one by one behind the last place where ``rmt`` is not the cheaper.
    """
    if segment_tokens is None:
        return below_for_good_tokens(
            lambda lengths: list(map(rmt, lengths)),
            lambda lengths: list(map(full, lengths)),
            longest_tokens,
        )

    def cheaper(tokens: int) -> bool:
        return rmt(tokens) < full(tokens)

    starts = range(1, longest_tokens, segment_tokens)
    grid = growing_steps(len(starts) - 1)
    last = _last_dearer(full, rmt, [starts[index] for index in grid], rough)
    if last is None:
        return 1
    if last == len(grid) - 1:
        return None
    low, high = grid[last : last + 2]
    steps = range(low, high)
    first = low + bisect_left(steps, True, key=lambda index: cheaper(starts[index]))
    inside = range(starts[first - 1], starts[first])
    return inside.start + bisect_left(inside, True, key=cheaper)


def _last_dearer(
    full: Callable[[int], float],
    rmt: Callable[[int], float],
    lengths: Sequence[int],
    rough: float,
) -> int | None:
    """Returns the place of the last length at which ``rmt`` is not the cheaper; None: at none.

    It is looked for from the end on. Where full attention costs many times as much, no length is
    looked at down to one so short that by the laws of growth the two might be equal.
    """
    place = len(lengths) - 1
    while place >= 0:
        length = lengths[place]
        more, less = full(length), rmt(length)
        if not less < more:
            return place
        place -= 1
        if 0 < rough * less < more:
            apart = length * math.sqrt(rough * less / more)
            place = min(place, bisect_right(lengths, apart) - 1)
    return None


def below_for_good_tokens(
    less: Costs, more: Costs, longest_tokens: int = LONGEST_TOKENS
) -> int | None:
    """The smallest length from which ``less`` stays below ``more``; None if there is none.

    Exact, however often the two cross before, for costs that never fall with the length; those of
    methods that work in blocks rise in steps. Inside a stretch of lengths ``less`` is at most what
    it is at the end, and ``more`` at least what it is at the beginning: where the first is below
    the second they do not cross. Every other stretch behind the last length known where ``less``
    is not below is cut into pieces; costs that run side by side, closer than they jump, all the
    way to the end are given up after ``_MOST_LENGTHS``.

    Args:
        less, more: the costs, in the same unit.
        longest_tokens: where the search ends.
    """
    stretches = [[tokens for tokens in growing_steps(longest_tokens) if tokens]]
    last = looked = 0
    while stretches and looked < _MOST_LENGTHS:
        lengths = [tokens for stretch in stretches for tokens in stretch]
        looked += len(lengths)
        low = dict(zip(lengths, less(lengths), strict=True))
        high = dict(zip(lengths, more(lengths), strict=True))
        last = max((tokens for tokens in lengths if low[tokens] >= high[tokens]), default=last)
        open_ends = [
            (first, end)
            for stretch in stretches
            for first, end in pairwise(stretch)
            if end > last and end - first > 1 and low[end] >= high[first]
        ]
        stretches = []
        for first, end in open_ends:
            apart = min(high[first] - low[first], high[end] - low[end])
            pieces = _PIECES
            if apart > 0:  # so many that ``less`` rises in each by less than they are apart
                pieces = 2 + int(min((low[end] - low[first]) / apart, _PIECES))
            stretches.append([*range(first, end, -(-(end - first) // pieces)), end])
    return None if last == longest_tokens else last + 1


def longest_fitting_tokens(
    peak_bytes: Callable[[int], int], memory_bytes: int, longest_tokens: int = LONGEST_TOKENS
) -> int | None:
    """The longest input whose peak fits; None if nothing does, ``longest_tokens`` if all do."""
    if peak_bytes(longest_tokens) <= memory_bytes:
        return longest_tokens
    lengths = range(1, longest_tokens)
    return bisect_left(lengths, True, key=lambda tokens: peak_bytes(tokens) > memory_bytes) or None
