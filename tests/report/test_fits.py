"""Exponents and lines, against numbers whose answer is known."""

from __future__ import annotations

import pytest

from rmtscale.report.fits import fit_line, fit_power


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5, 2.0])
def test_an_exact_power(exponent: float) -> None:
    fit = fit_power({tokens: 3.0 * tokens**exponent for tokens in (500, 1000, 4000, 8000)})
    assert fit is not None
    assert fit.exponent == pytest.approx(exponent, abs=1e-9)
    assert fit.low <= fit.exponent <= fit.high
    assert (fit.first_tokens, fit.last_tokens, fit.points) == (500, 8000, 4)


def test_the_tail_begins_where_the_constant_no_longer_counts() -> None:
    values = {2**k: 1e6 + (2.0**k) ** 2 for k in range(8, 18)}
    fit = fit_power(values)
    assert fit is not None
    assert fit.is_power
    assert fit.exponent == pytest.approx(2.0, abs=0.05)
    assert 1000 < fit.first_tokens < 10_000


def test_the_interval_of_a_known_example() -> None:
    """log2 values 0, 1.04, 1.96, 3.0 at 1, 2, 4, 8: slope 0.992, its error 0.01697, t = 4.303."""
    fit = fit_power({1: 2**0.0, 2: 2**1.04, 4: 2**1.96, 8: 2**3.0})
    assert fit is not None
    assert fit.exponent == pytest.approx(0.992)
    assert fit.high - fit.exponent == pytest.approx(4.303 * 0.0169706, rel=1e-3)


def test_no_power_is_said() -> None:
    fit = fit_power({1000: 1.0, 2000: 4.0, 3000: 2.0})
    assert fit is not None
    assert not fit.is_power


def test_two_points_are_no_fit() -> None:
    assert fit_power({1000: 1.0, 2000: 2.0}) is None
    assert fit_line({1000: 1.0, 2000: 2.0}) is None


def test_a_line() -> None:
    line = fit_line({tokens: 5.0 + 0.25 * tokens for tokens in (100, 200, 700)})
    assert line is not None
    assert (line.constant, line.slope) == pytest.approx((5.0, 0.25))
    assert line.worst < 1e-12
