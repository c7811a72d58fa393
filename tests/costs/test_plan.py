"""The plan says what the estimates say, on both sides of each length it names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.plan import make_plan
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

A100 = find_device("a100-80gb")
RMT = Recurrence(512, 10)


@pytest.mark.parametrize("mode", ["forward", "train"])
@pytest.mark.parametrize("name", ["gpt2", "llama-3.2-1b"])
def test_both_sides_of_each_length(name: str, mode: str) -> None:
    model = PRESETS[name]

    def work(tokens: int) -> Workload:
        return Workload(tokens=tokens, mode=mode, logits="last")  # type: ignore[arg-type]

    plan = make_plan(model, work(1), RMT, A100, "hoffmann")
    costs: dict[str, Callable[[int, Recurrence | None], float]] = {
        "fewer_flops_tokens": lambda t, r: estimate_flops(model, work(t), r).total,
        "less_memory_tokens": lambda t, r: estimate_memory(model, work(t), r).total,
    }
    for field, cost in costs.items():
        first = getattr(plan, field)
        if first is None:
            assert cost(10**8, RMT) >= cost(10**8, None)
            continue
        assert cost(first, RMT) < cost(first, None)
        assert cost(first - 1, RMT) >= cost(first - 1, None)
    longest = plan.full_longest_tokens
    assert longest is not None
    assert estimate_memory(model, work(longest)).total <= A100.usable_memory_bytes
    assert estimate_memory(model, work(longest + 1)).total > A100.usable_memory_bytes


def test_a_model_that_does_not_fit() -> None:
    plan = make_plan(PRESETS["opt-175b"], Workload(tokens=1), RMT, A100, "hoffmann")
    assert plan.full_longest_tokens is None
    assert plan.longest_tokens is None
