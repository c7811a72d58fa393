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
    slowly than full attention's inside it. So a segment's first token is its worst place, and
    those places are searched before the tokens between two of them.
    """

    def cheaper(tokens: int) -> bool:
        return rmt(tokens) < full(tokens)

    starts = range(1, longest_tokens, segment_tokens)
    first = bisect_left(starts, True, key=cheaper)
    if first == len(starts):
        return None
    if first == 0:
        return 1
    inside = range(starts[first - 1], starts[first] + 1)
    return inside[bisect_left(inside, True, key=cheaper)]


def longest_fitting_tokens(
    peak_bytes: Callable[[int], int], memory_bytes: int, longest_tokens: int = LONGEST_TOKENS
) -> int | None:
    """The longest input whose peak fits; None if nothing does, ``longest_tokens`` if all do."""
    lengths = range(1, longest_tokens + 1)
    fitting = bisect_left(lengths, True, key=lambda tokens: peak_bytes(tokens) > memory_bytes)
    return lengths[fitting - 1] if fitting else None
