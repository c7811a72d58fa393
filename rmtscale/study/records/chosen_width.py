"""The width of a dead band by right answers to the same stories: the rule, fixed beforehand.

Every width reads the same stories, so differences are paired. Of the widths that are within one
standard error of the best one, the rule takes that whose neighbours are right most often too. A
simulation chose it before any checkpoint was read: of the rules that it compared, the narrowest
width within the interval of the best loses most, because more noise than was read asks for a wider
one, and the best alone is decided by a few stories
(``python -m tests.study.records.simulated_widths``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rmtscale.errors import BadInput

Right = Mapping[float, Mapping[int, str]]
"""Stories by width and segments: a 1 for each that was answered rightly, in one order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One width, beside the best one."""

    width: float
    accuracy: float
    """Mean over the lengths, each as much as another."""
    behind: float
    """The accuracy that the best width has more."""
    error: float
    """Standard error of that, of the stories that the two share."""
    smoothed: float
    """Half its accuracy and a quarter of each neighbour's; at an end its own in the place of one
    that is missing."""

    @property
    def near(self) -> bool:
        """Tells whether it is within one standard error of the best."""
        return self.behind <= self.error + 1e-12


@dataclass(frozen=True, slots=True)
class Chosen:
    """The width, and all that were tried, narrowest first."""

    width: float
    """0 where none is as good as any."""
    tried: tuple[Tried, ...]


def choose_width(right: Right) -> Chosen:
    """Chooses the smoothest of the widths near the best, of equal ones the narrowest.

    Args:
        right: of the same stories for all widths; widths that have not read all lengths are passed
            over.

    Raises:
        BadInput: no width has read all lengths, or some have read other numbers of stories.
    """
    lengths = sorted({count for own in right.values() for count in own})
    widths = sorted(width for width, own in right.items() if set(own) == set(lengths))
    if not widths or not lengths:
        raise BadInput("readings of no width: expected one or more, at all lengths")
    for count in lengths:
        stories = sorted({len(right[width][count]) for width in widths})
        if len(stories) > 1 or not stories[0]:
            raise BadInput(
                f"{stories} stories at {count} segments: expected the same ones for all widths"
            )
    means = [_mean(right[width], lengths) for width in widths]
    best = means.index(max(means))
    tried = []
    for at, width in enumerate(widths):
        behind, error = _difference(right[widths[best]], right[width], lengths)
        below, above = means[max(at - 1, 0)], means[min(at + 1, len(means) - 1)]
        tried.append(
            Tried(
                width=width,
                accuracy=means[at],
                behind=behind,
                error=error,
                smoothed=(below + 2 * means[at] + above) / 4,
            )
        )
    near = [one for one in tried if one.near]
    # Rounded, so that what is added up in another order is as much.
    chosen = max(near, key=lambda one: (round(one.smoothed, 9), -one.width))
    return Chosen(chosen.width, tuple(tried))


def _mean(own: Mapping[int, str], lengths: list[int]) -> float:
    shares = [own[count].count("1") / len(own[count]) for count in lengths]
    return math.fsum(shares) / len(shares)


def _difference(
    best: Mapping[int, str], other: Mapping[int, str], lengths: list[int]
) -> tuple[float, float]:
    """Returns the mean of the paired differences over all lengths, and its standard error."""
    means, variances = [], []
    for count in lengths:
        pairs = list(zip(best[count], other[count], strict=True))
        ahead, behind = pairs.count(("1", "0")), pairs.count(("0", "1"))
        mean = (ahead - behind) / len(pairs)
        means.append(mean)
        variances.append(((ahead + behind) / len(pairs) - mean**2) / len(pairs))
    return math.fsum(means) / len(means), math.sqrt(math.fsum(variances)) / len(means)
