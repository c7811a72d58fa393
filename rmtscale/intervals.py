"""Confidence intervals in pure Python: for a share, two shares, a mean or a slope."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

LEVEL = 0.95
"""The coverage of every interval that rmtscale prints."""
_EXACT_DEGREES = 1000
"""Up to here the distribution is summed term by term; beyond, the expansion is right to 1e-12."""


def wilson_interval(successes: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """Returns the low and the high end of the interval of the share ``successes / trials``.

    The score interval of Wilson 1927: the shares for which ``successes`` would not be surprising.
    It holds near 0 and 1 too: with all of 200 right it is 98.1 % to 100 %, where the usual
    interval has no width.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / trials
    scale = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    # None and all reach the ends exactly, whatever the rounding says.
    return (
        middle - half if successes else 0.0,
        middle + half if successes < trials else 1.0,
    )


def newcombe_interval(
    successes: int, trials: int, other_successes: int, other_trials: int, level: float = LEVEL
) -> tuple[float, float]:
    """Returns the ends of the interval of ``successes / trials`` minus the share of the others.

    Method 10 of Newcombe 1998: the Wilson intervals of the two shares, put together.
    """
    share, other = successes / trials, other_successes / other_trials
    low, high = wilson_interval(successes, trials, level)
    other_low, other_high = wilson_interval(other_successes, other_trials, level)
    difference = share - other
    return (
        difference - math.hypot(share - low, other_high - other),
        difference + math.hypot(high - share, other - other_low),
    )


@cache
def student_t(degrees: int, level: float = LEVEL) -> float:
    """Returns the two-sided quantile: within so many standard errors lies ``level`` of the mass.

    Source: Abramowitz & Stegun 1964, equations 26.7.3 and 26.7.4 (the distribution for whole
    degrees of freedom, solved by bisection) and 26.7.5 (the expansion for many).
    """
    if degrees > _EXACT_DEGREES:
        return _expanded(degrees, level)
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _coverage(middle, degrees) < level else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _coverage(angle: float, degrees: int) -> float:
    """Returns the mass within ``t``, where ``angle = atan(t / sqrt(degrees))``."""
    cosine = math.cos(angle)
    odd = degrees % 2
    # Odd degrees: 1 + 2/3 cos^2 + ...; even ones: 1 + 1/2 cos^2 + ...; both times sin, cos or 1.
    term = total = cosine if odd else 1.0
    for power in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine * cosine * (power - 1) / power
        total += term
    if not odd:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + (math.sin(angle) * total if degrees > 1 else 0.0))


def _expanded(degrees: int, level: float) -> float:
    z = NormalDist().inv_cdf((1 + level) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / degrees**power for power, term in enumerate(terms, 1))
