"""How a cost grows with length: the exponent of a power, and from which length on it is one.

Least squares of log(cost) on log(tokens): the slope is the exponent (1: linear, 2: quadratic),
with the 95 % confidence interval of Student's t. A cost with a constant part (weights, the host)
is no power at short lengths, so the fit takes the longest tail that is one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rmtscale.intervals import student_t

WITHIN = 0.05
"""A tail is a power if every point of it is this near the line."""
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Power:
    """``cost = factor * tokens ** exponent`` over a range of lengths."""

    exponent: float
    low: float
    """Lower end of the 95 % confidence interval."""
    high: float
    factor: float
    first_tokens: int
    last_tokens: int
    points: int
    worst: float
    """The largest relative distance of a point from the line."""

    @property
    def is_power(self) -> bool:
        """Whether the line really describes the points."""
        return self.worst <= WITHIN

    def words(self) -> str:
        """Returns ``1.02 (0.98 to 1.06) from 2,000 tokens on``."""
        return (
            f"{self.exponent:.2f} ({self.low:.2f} to {self.high:.2f}) "
            f"from {self.first_tokens:,} tokens on"
        )


@dataclass(frozen=True, slots=True)
class Line:
    """``cost = constant + slope * tokens``."""

    constant: float
    slope: float
    worst: float
    """The largest distance of a point from the line, relative to the point."""


def fit_power(values: Mapping[int, float]) -> Power | None:
    """Fits the longest tail that is a power, or the last three points if none is.

    None of fewer than three points: two always lie on a line.
    """
    points = sorted((tokens, value) for tokens, value in values.items() if value > 0)
    if len(points) < _FEWEST:
        return None
    fits = [_power(points[start:]) for start in range(len(points) - _FEWEST + 1)]
    return next((fit for fit in fits if fit.is_power), fits[-1])


def fit_line(values: Mapping[int, float]) -> Line | None:
    """Fits constant and slope by least squares of the relative distances.

    Short lengths count as much as long ones; None for fewer than three points."""
    points = sorted(values.items())
    if len(points) < _FEWEST:
        return None
    constant, slope = _least_squares([(float(x), y) for x, y in points], [y**-2 for _, y in points])
    worst = max(abs(constant + slope * x - y) / y for x, y in points)
    return Line(constant, slope, worst)


def _power(points: list[tuple[int, float]]) -> Power:
    logs = [(math.log(tokens), math.log(value)) for tokens, value in points]
    offset, slope = _least_squares(logs)
    residuals = [y - offset - slope * x for x, y in logs]
    mean = sum(x for x, _ in logs) / len(logs)
    freedom = len(logs) - 2
    variance = sum(r * r for r in residuals) / freedom
    error = math.sqrt(variance / sum((x - mean) ** 2 for x, _ in logs))
    margin = student_t(freedom) * error
    return Power(
        exponent=slope,
        low=slope - margin,
        high=slope + margin,
        factor=math.exp(offset),
        first_tokens=points[0][0],
        last_tokens=points[-1][0],
        points=len(points),
        worst=max(abs(math.expm1(r)) for r in residuals),
    )


def _least_squares(
    points: list[tuple[float, float]], weights: list[float] | None = None
) -> tuple[float, float]:
    """``(offset, slope)``; all points count the same unless they have weights."""
    weights = [1.0] * len(points) if weights is None else weights
    weighted = [(w, x, y) for w, (x, y) in zip(weights, points, strict=True)]
    total = sum(weights)
    mean_x = sum(w * x for w, x, _ in weighted) / total
    mean_y = sum(w * y for w, _, y in weighted) / total
    slope = sum(w * (x - mean_x) * (y - mean_y) for w, x, y in weighted) / sum(
        w * (x - mean_x) ** 2 for w, x, _ in weighted
    )
    return mean_y - slope * mean_x, slope
