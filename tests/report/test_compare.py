"""Two runs point by point: the ratio, and whether it is more than noise."""

from __future__ import annotations

import pytest

from rmtscale.report.compare import compare
from rmtscale.report.noise import pair_noise
from rmtscale.report.quantities import MEMORY, TIME
from tests.synthetic.records import figure_10, point, record


def test_a_run_against_itself_is_noise() -> None:
    both = compare(figure_10(), figure_10())
    assert len(both.pairs) == 24
    words = {one.words() for pair in both.pairs for one in pair.differences}
    assert words == {"within noise", "not measured"}


def test_a_slower_machine_is_outside_noise() -> None:
    both = compare(figure_10(), figure_10(slower=1.5, gpu="Other GPU"))
    memory, time = both.pairs[0].differences
    assert memory.words() == "within noise"
    assert memory.ratio == pytest.approx(1.0)
    assert time.words() == "outside noise"
    assert 1.2 < (time.ratio or 0) < 1.5


def test_without_a_pair_the_noise_of_memory_is_not_known() -> None:
    both = compare([record(point())], [record(point(), larger=1.2)])
    memory, time = both.pairs[0].differences
    assert memory.words() == "noise not known"
    assert time.words() == "within noise"  # the quartiles say so


def test_limits_may_differ_and_the_rest_may_not() -> None:
    both = compare([record(point())], [record(point(memory_limit_bytes=None))])
    assert len(both.pairs) == 1
    apart = compare([record(point())], [record(point(precision="bf16"))])
    assert (len(apart.pairs), len(apart.only_first), len(apart.only_second)) == (0, 1, 1)


def test_pair_noise_is_symmetrical() -> None:
    pair = [record(point(), larger=1.1), record(point(replicate=1), larger=1.0)]
    turned = [record(point(), larger=1.0), record(point(replicate=1), larger=1.1)]
    assert pair_noise(pair, MEMORY) == pytest.approx(0.1, rel=1e-3)
    assert pair_noise(pair, MEMORY) == pytest.approx(pair_noise(turned, MEMORY) or 0)
    assert pair_noise(figure_10()[:-1], TIME) is None
