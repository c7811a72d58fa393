"""Formatting and parsing of numbers."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtscale import units
from rmtscale.errors import BadInput


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("32k", 32_000), ("32K", 32_000), ("2M", 2_000_000), ("1.5k", 1500)]
    + [("32Ki", 32_768), ("2Mi", 2 * 2**20), ("1G", 10**9), ("2.048M", 2_048_000), (" 7 ", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "0", "1.5", "1e3", "0.0001k", "32i", "k", "1 k", "\u0661"]
)
def test_bad_sizes_name_the_value(text: str) -> None:
    with pytest.raises(BadInput, match="tokens ") as error:
        units.parse_size(text)
    assert repr(text) in str(error.value)


def test_lists_keep_their_order_and_drop_repeats() -> None:
    assert units.parse_sizes("4k,512,4000,") == [4000, 512]
    assert units.parse_sizes("512..2k, 8, 3..3") == [512, 1024, 2000, 8, 3]
    with pytest.raises(BadInput, match="expected one or more numbers"):
        units.parse_sizes(" , ")


@given(st.integers(1, 10**15))
def test_plain_numbers_survive(value: int) -> None:
    assert units.parse_size(str(value)) == value


@pytest.mark.parametrize(
    ("text", "size"), [("80GiB", 80 * 2**30), ("80GB", 80 * 10**9), ("1.5 MiB", 3 * 2**19)]
)
def test_bytes(text: str, size: int) -> None:
    assert units.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["80", "80G", "GiB", "-1GiB", "0GiB"])
def test_bytes_need_a_unit(text: str) -> None:
    with pytest.raises(BadInput, match="memory "):
        units.parse_bytes(text)


def test_flops_are_si_and_bytes_iec() -> None:
    assert units.format_flops(734_805_016_707_072) == "734.8 TFLOP"
    assert units.format_flops(999) == "999.0 FLOP"
    assert units.format_bytes(2**30) == "1.000 GiB"
    assert units.format_bytes(1023) == "1023 B"
    assert units.format_count(174_604_468_224) == "174.6B"
    assert units.format_count(12) == "12"
    assert units.format_tokens(2_048_000) == "2,048,000"


@given(st.floats(1e-6, 1e25))
def test_no_number_is_printed_as_1000_of_a_smaller_unit(value: float) -> None:
    number, _ = units.format_flops(value).split()
    assert float(number) < 1000 or value >= 9.995e32
    assert len(number.replace(".", "")) >= 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.86, "1.86 s"), (0.284, "284 ms"), (12e-6, "12.0 us"), (0.99999, "1.00 s")]
    + [(12300, "3 h 25 min"), (5e-9, "5 ns"), (86400 * 30, "30.0 days")],
)
def test_seconds(seconds: float, text: str) -> None:
    assert units.format_seconds(seconds) == text


def test_ratios() -> None:
    assert units.format_ratio(295.0712) == "x295.07"
    assert units.format_ratio(0.92751) == "x0.928"


def test_the_lengths_of_figure_2() -> None:
    lengths = units.doubling_tokens()
    assert lengths[0] == 512
    assert lengths[6:8] == [32_768, 64_000]
    assert lengths[-1] == 2_048_000
    assert len(lengths) == 13


def test_percent() -> None:
    assert units.format_percent(0.453) == "45 %"
    assert units.format_percent(0.0453) == "4.5 %"
    assert units.format_percent(-0.0996, signed=True) == "-10 %"
    assert units.format_percent(0.031, signed=True) == "+3.1 %"
    assert units.format_percent(-0.00031, signed=True, digits=2) == "-0.03 %"


def by_hand(share: Fraction, digits: int) -> str:
    """The decimal in between goes up, as people round."""
    percent = (100 * Decimal(share.numerator)) / Decimal(share.denominator)
    return str(percent.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


@pytest.mark.parametrize("samples", [8, 80, 100, 400, 800, 1000, 2000])
def test_every_share_of_right_answers_is_rounded_half_up(samples: int) -> None:
    ties = 0
    for right in range(samples + 1):
        share, float_share = Fraction(right, samples), right / samples
        for digits in (0, 1, 2):
            wanted = by_hand(share, digits)
            ties += wanted != f"{100 * float_share:.{digits}f}"
            assert units.format_score(share, digits) == wanted
            assert units.format_score(float_share, digits) == wanted
            assert units.format_percent(-float_share, digits=digits, signed=True) == (
                f"{'-' if right else '+'}{wanted} %"
            )
        assert units.format_accuracy(float_share) == f"{by_hand(share, 2)} %"
        low, high = by_hand(share, 1), by_hand(share, 2)
        assert units.format_score_interval(float_share, share) == f"{low} to {low}"
        assert units.format_interval(share, float_share) == f"{high} to {high}"
    assert (ties > 0) == (samples != 100), "else no share is one that the float's digits get wrong"


def test_means_of_shares_are_rounded_half_up_whichever_way_they_were_added() -> None:
    rights = ((100, 98, 100, 90, 99.75), (99, 97, 98, 91, 97.75))
    for percents, wanted in zip(rights, ("97.6", "96.6"), strict=True):
        exact = sum((Fraction(one) / 100 for one in percents), Fraction()) / 5
        for added in (sum(one / 100 for one in percents) / 5, sum(percents) / 500):
            assert units.format_score(added) == units.format_score(exact) == wanted
    assert units.format_percent(0.0995) == "10 %"
    assert units.format_percent(0.09949) == "9.9 %"
    assert units.format_percent(float("nan")) == "nan %"
    assert units.format_percent(float("-inf"), signed=True) == "-inf %"


def test_rate() -> None:
    assert units.format_rate(7.46e14) == "746 TFLOP/s"


def test_losses() -> None:
    assert units.format_nats(2.19794) == "2.198"
    assert units.format_loss(2.19794) == "2.198 nats"
    assert units.format_perplexity(1006.388) == "1,006.39"
    assert units.format_bits_per_byte(0.79794) == "0.7979"
    assert units.format_difference(-0.0521, -0.0603, 0.00439) == "-0.0521 (-0.0603 to +0.0044)"
    assert units.format_thousandths(-0.0521, -0.0603, -0.0439) == "-52.1 ± 8.2"
    assert units.format_thousandths(0.25, -float("inf"), float("inf")) == "+250.0 ± inf"
