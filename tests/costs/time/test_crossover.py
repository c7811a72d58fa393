"""Where RMT becomes faster, as an interval, and how it is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmtscale.costs.crossover import Crossover
from rmtscale.costs.plan import Plan, make_plan
from rmtscale.costs.time.constants import (
    BACKWARD_OPERATOR,
    FORWARD_OPERATOR,
    TimeConstants,
)
from rmtscale.costs.time.constants_file import known_constants
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.spread import Spread
from rmtscale.specs.workload import Workload

GPT2, H200 = PRESETS["gpt2"], find_device("h200")


def plan(size: int, constants: TimeConstants | None = None, precision: str = "fp32") -> Plan:
    work = Workload(tokens=1, mode="train", precision=precision)
    return make_plan(GPT2, work, Recurrence(size, 2), H200, "hoffmann", constants)


def slower_host(factor: float) -> TimeConstants:
    known = known_constants(H200)
    moved = {
        name: Spread(*(factor * one for one in known.spreads[name]))
        for name in (FORWARD_OPERATOR, BACKWARD_OPERATOR)
    }
    return replace(known, spreads={**known.spreads, **moved})


def test_a_slow_host_favours_full_attention() -> None:
    usual, slow = plan(250), plan(250, slower_host(1.5))
    assert usual.less_time_least_tokens is not None
    assert slow.less_time_least_tokens is not None
    assert usual.less_time_most_tokens is not None
    assert usual.less_time_least_tokens < slow.less_time_least_tokens
    assert usual.less_time_least_tokens <= usual.less_time_most_tokens


def test_in_16_bits_it_takes_much_longer() -> None:
    """Measured: from 4,000 to 16,000 tokens in fp32, not by 16,000 in bf16."""
    exact, half = plan(1000), plan(1000, precision="bf16")
    assert exact.less_time_most_tokens is not None
    assert half.less_time_least_tokens is not None
    assert half.less_time_least_tokens > exact.less_time_most_tokens


def test_other_methods_have_a_bound_only() -> None:
    from rmtscale.costs.methods.catalog import find_method

    work = Workload(tokens=1, mode="train")
    found = make_plan(GPT2, work, find_method("sliding-window", GPT2), H200, "matmul")
    assert found.less_time_least_tokens is not None
    assert found.less_time_most_tokens is None


@pytest.mark.parametrize(
    ("crossover", "words", "short"),
    [
        (Crossover(4000, 7000), "between 4,000 and 7,000", "4,000 to 7,000"),
        (Crossover(4000, 4000), "from 4,000", "4,000"),
        (Crossover(4000, None), "not before 4,000, perhaps never", "4,000 or never"),
        (Crossover(None, None), "not by 1,000,000,000", "never"),
    ],
)
def test_it_is_never_one_number_where_it_is_not(
    crossover: Crossover, words: str, short: str
) -> None:
    assert (crossover.words, crossover.short) == (words, short)
