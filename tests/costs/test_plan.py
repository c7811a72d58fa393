"""The plan says what the estimates say, on both sides of each length it names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from rmtscale.costs import by_length, crossover
from rmtscale.costs import plan as plan_module
from rmtscale.costs.breakeven import break_even_tokens
from rmtscale.costs.by_length import fewer_flops_tokens, less_time
from rmtscale.costs.design import why_no_rmt
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.plan import Plan, make_plan
from rmtscale.costs.time.step_kernels import has_kernels
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.huggingface import read_mapping
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from tests.specs.tiny_configs import TINY

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
        "less_memory_tokens": lambda t, r: estimate_memory(model, work(t), r, A100).total,
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


DECODERS = {
    kind: spec
    for kind, spec in ((kind, read_mapping(TINY[kind], kind).spec) for kind in TINY)
    if spec.decoder and not why_no_rmt(spec)
}


def kernels_end(model: ModelSpec) -> bool:
    near, far = (has_kernels(model, Workload(tokens=tokens), None) for tokens in (100, 10**9))
    return near and not far


@pytest.mark.parametrize("kind", [kind for kind in DECODERS if kernels_end(DECODERS[kind])])
def test_kernels_that_end_with_the_window(kind: str) -> None:
    """Kernels of full attention are known up to a sliding window's length alone: then what is
    said of time is a bound."""
    plan = make_plan(DECODERS[kind], Workload(tokens=1), Recurrence(64, 2), A100, "hoffmann")
    assert plan.fewer_flops_tokens is not None
    assert plan.less_time_most_tokens is None


def test_some_kernels_end_with_the_window() -> None:
    assert sum(map(kernels_end, DECODERS.values())) >= 2


@pytest.mark.parametrize(
    ("name", "work", "segment_size"),
    [
        ("gpt2", Workload(tokens=1, mode="train"), 128),
        ("pythia-1b", Workload(tokens=1, attention="eager"), 500),
        ("bert-base-cased", Workload(tokens=1, mode="train", bptt_segments=2), 512),
        ("llama-3.2-1b", Workload(tokens=1, mode="train", precision="fp32"), 1024),
        ("pythia-70m", Workload(tokens=1, mode="train", precision="amp-bf16"), 512),
    ],
)
def test_what_is_skipped_in_a_search_is_no_crossing(
    name: str, work: Workload, segment_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that skips no length finds the same."""
    recurrence = Recurrence(segment_size, 10)

    def planned() -> Plan:
        for remembered in (less_time, fewer_flops_tokens):
            remembered.cache_clear()
        return make_plan(PRESETS[name], work, recurrence, A100, "matmul")

    found, looked = planned(), []

    def every_place(*asked: Any, **rough: float) -> int | None:
        looked.append(rough)
        return break_even_tokens(*asked, rough=math.inf)

    for module in (by_length, crossover, plan_module):
        monkeypatch.setattr(module, "break_even_tokens", every_place)
    assert planned() == found
    assert len(looked) >= 8
