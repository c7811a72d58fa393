"""The rule for the width of a dead band by accuracy, against a slow copy and on cases by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rmtscale.errors import BadInput
from rmtscale.study.records.chosen_width import Right, choose_width
from tests.study.records import simulated_widths

WIDTHS = (0.0, 0.2, 0.3, 0.5)


def slow_choice(right: Right) -> float:
    """The rule once more, story by story, in NumPy's float64."""
    widths = sorted(right)
    lengths = sorted(right[widths[0]])
    answers = {
        (width, count): np.array([int(letter) for letter in right[width][count]], dtype=np.float64)
        for width in widths
        for count in lengths
    }
    means = [float(np.mean([answers[w, count].mean() for count in lengths])) for w in widths]
    best = max(range(len(widths)), key=lambda at: (round(means[at], 9), -at))
    chosen, smoothest = widths[best], -1.0
    for at, width in enumerate(widths):
        gaps = [answers[widths[best], count] - answers[width, count] for count in lengths]
        behind = float(np.mean([gap.mean() for gap in gaps]))
        error = float(np.sqrt(sum(gap.var() / len(gap) for gap in gaps))) / len(lengths)
        if behind > error + 1e-12:
            continue
        around = [means[max(at - 1, 0)], means[at], means[at], means[min(at + 1, len(means) - 1)]]
        if np.mean(around) > smoothest + 1e-9:
            chosen, smoothest = width, float(np.mean(around))
    return chosen


def test_it_is_the_slow_one() -> None:
    rng = np.random.default_rng(5)
    chosen = []
    for _ in range(300):
        shares = rng.uniform(0.5, 1.0, len(WIDTHS))
        right = {
            width: {
                count: "".join("01"[story] for story in (rng.random(size) < share).astype(int))
                for count, size in ((64, 20), (256, 9))
            }
            for width, share in zip(WIDTHS, shares, strict=True)
        }
        found = choose_width(right)
        assert found.width == slow_choice(right)
        assert [one.width for one in found.tried] == list(WIDTHS)
        chosen.append(found.width)
    assert set(chosen) == set(WIDTHS), "every width is chosen where it is the best"


def shares(*right: int, of: int = 1000) -> Right:
    """One length; the same first stories are right with all widths."""
    return {
        width: {64: "1" * count + "0" * (of - count)}
        for width, count in zip(WIDTHS, right, strict=True)
    }


@pytest.mark.parametrize(
    ("right", "width"),
    [
        ((500, 900, 900, 900), 0.3),  # the neighbours of 0.2 are worse
        ((900, 900, 900, 900), 0.0),  # none is the narrowest
        ((500, 600, 700, 950), 0.5),  # far ahead, whatever its neighbours are
        ((500, 800, 951, 952), 0.5),  # at an end, its own accuracy stands for the missing one
        ((100, 950, 950, 100), 0.2),  # two alike: the narrowest
        ((951, 950, 900, 400), 0.0),
    ],
)
def test_by_hand(right: tuple[int, ...], width: float) -> None:
    assert choose_width(shares(*right)).width == width


def test_the_error_is_that_of_the_stories_that_differ() -> None:
    """Two widths with equal shares of right answers may agree on all stories, or on none."""
    alike = choose_width({0.0: {64: "1100"}, 0.3: {64: "1100"}}).tried[1]
    apart = choose_width({0.0: {64: "1100"}, 0.3: {64: "0011"}}).tried[1]
    assert (alike.behind, alike.error) == (0.0, 0.0)
    assert (apart.behind, apart.error) == (0.0, 0.5)
    behind = choose_width({0.0: {64: "1111"}, 0.3: {64: "1100"}}).tried[1]
    assert (behind.behind, behind.error) == (0.5, 0.25)
    assert not behind.near
    assert behind.smoothed == 0.625


def test_a_length_counts_as_much_as_another() -> None:
    found = choose_width({0.0: {1: "1" * 90 + "0" * 10, 2: "01"}, 0.2: {1: "1" * 100, 2: "11"}})
    assert found.tried[0].accuracy == pytest.approx(0.7, abs=1e-15)
    assert found.tried[0].behind == pytest.approx(0.3, abs=1e-15)
    # Variances 0.09 / 100 and 0.25 / 2, of a mean of two.
    assert found.tried[0].error == pytest.approx((0.0009 + 0.125) ** 0.5 / 2, abs=1e-15)


def test_the_order_of_widths_is_nothing() -> None:
    right = shares(700, 950, 952, 940)
    for order in itertools.permutations(WIDTHS):
        assert choose_width({width: right[width] for width in order}) == choose_width(right)


def test_a_width_that_has_not_read_all_lengths_is_passed_over() -> None:
    """As after an interruption."""
    found = choose_width({0.0: {1: "10", 2: "10"}, 0.2: {1: "11"}})
    assert [one.width for one in found.tried] == [0.0]


def test_it_gives_away_less_than_other_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the simulation that chose it, at a length that was read."""
    monkeypatch.setattr(simulated_widths, "MANY", 20_000)
    lost = {name: own[0] for name, own in simulated_widths.given_away(50, 40).items()}
    assert lost["ours"] < 0.6 * min(own for name, own in lost.items() if name != "ours")
    assert lost["the narrowest within 95 %"] > 4 * lost["ours"]


@pytest.mark.parametrize(
    ("right", "words"),
    [
        ({}, "readings of no width: expected one or more"),
        ({0.0: {1: "1"}, 0.2: {2: "1"}}, "readings of no width"),
        ({0.0: {1: "1"}, 0.2: {1: "11"}}, r"\[1, 2\] stories at 1 segments: expected the same"),
        ({0.0: {1: ""}}, r"\[0\] stories at 1 segments"),
    ],
)
def test_readings_that_are_refused(right: Right, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        choose_width(right)
