"""Our intervals against scipy's."""

from __future__ import annotations

import pytest

from rmtscale.intervals import newcombe_interval, student_t, wilson_interval


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("degrees", [*range(1, 41), 119, 120, 999, 1000, 1001, 25_000])
def test_student_t(degrees: int, level: float) -> None:
    from scipy.stats import t  # where it is used: a second of every worker

    assert student_t(degrees, level) == pytest.approx(t.ppf((1 + level) / 2, degrees), rel=1e-11)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 10), (1, 1), (3, 4), (15, 50), (200, 200), (500, 1000)]
)
def test_wilson(successes: int, trials: int, level: float) -> None:
    from scipy.stats import binomtest

    expected = binomtest(successes, trials).proportion_ci(level, method="wilson")
    assert wilson_interval(successes, trials, level) == pytest.approx(tuple(expected), abs=1e-12)


def test_wilson_stays_between_0_and_1() -> None:
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(200, 200)[1] == 1.0


@pytest.mark.parametrize(
    ("pair", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0),
    ],
)
def test_newcombe(pair: tuple[int, int, int, int], low: float, high: float) -> None:
    """The examples of Newcombe 1998, Table II, method 10."""
    assert newcombe_interval(*pair) == pytest.approx((low, high), abs=5e-5)
    other, own = newcombe_interval(*pair[2:], *pair[:2])
    assert (-own, -other) == pytest.approx((low, high), abs=5e-5)
