"""What every method has to obey: growth laws, terms, arrays equal to scalars, refusals."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rmtscale
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.method_estimates import estimate_method
from rmtscale.costs.methods.catalog import METHODS, find_method, methods_for
from rmtscale.costs.methods.memorizing import Memorizing
from rmtscale.costs.methods.method import Method, ceil_div, ceil_log2, larger, smaller
from rmtscale.costs.plan import make_plan
from rmtscale.costs.roofline import estimate_time
from rmtscale.costs.terms import Count
from rmtscale.errors import BadInput
from rmtscale.references import REFERENCES
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

DECODER, ENCODER = PRESETS["opt-1.3b"], PRESETS["bert-large-cased"]
EXPONENTS = {"constant": 0.0, "linear": 1.0, "n log n": 1.0, "quadratic": 2.0}
EVERY = pytest.mark.parametrize("name", METHODS)


def model_for(method: Method) -> ModelSpec:
    return DECODER if "decoder" in method.kinds else ENCODER


def fitted(lengths: list[int], costs: list[int]) -> float:
    """The exponent: the slope of log cost against log length."""
    return float(
        np.polyfit([math.log(x) for x in lengths], [math.log(float(y)) for y in costs], 1)[0]
    )


@EVERY
@given(start=st.integers(2**23, 2**24))
@settings(max_examples=15)
def test_growth_is_what_the_method_says(name: str, start: int) -> None:
    """From 8 M tokens on, where windows are full and small quadratic terms have grown."""
    method = METHODS[name]
    for model in (DECODER, ENCODER):
        if method in methods_for(model):
            check_growth(method, model, [start * 2**k for k in range(7)])


def check_growth(method: Method, model: ModelSpec, lengths: list[int]) -> None:
    growth = method.growth_on(model)
    mixing = [sum(p.flops for p in method.mixing(model, s)) for s in lengths]
    costs = [estimate_method(model, s, method) for s in lengths]
    exponent = fitted(lengths, mixing)
    assert exponent == pytest.approx(EXPONENTS[growth.flops], abs=0.03)
    if growth.flops == "n log n":
        assert all(2 * a < b for a, b in itertools.pairwise(mixing))
        fft = [next(p.flops for p in method.mixing(model, s) if p.name == "fft") for s in lengths]
        ratios = [f / (s * math.log2(s)) for f, s in zip(fft, lengths, strict=True)]
        assert max(ratios) / min(ratios) < 1.03
    state = fitted(lengths, [cost.state_bytes for cost in costs])
    assert state == pytest.approx(EXPONENTS[growth.state], abs=1e-6)
    kept = fitted(lengths, [cost.activation_bytes for cost in costs])
    assert kept == pytest.approx(EXPONENTS[growth.activations], abs=0.03)


def test_a_wrong_law_would_be_seen() -> None:
    lengths = [2**k for k in range(10, 17)]
    assert fitted(lengths, [s * s for s in lengths]) == pytest.approx(2.0)
    assert fitted(lengths, [s * (s.bit_length() - 1) for s in lengths]) > 1.05


def test_a_store_is_searched_quadratically_until_it_is_full() -> None:
    method = Memorizing(store=2**16)

    def search(tokens: int) -> int:
        return int(next(p.flops for p in method.mixing(DECODER, tokens) if p.name == "search"))

    assert search(2**15) == 4 * search(2**14)
    assert search(2**18) == 2 * search(2**17)


@EVERY
@given(lengths=st.lists(st.integers(1, 5_000_000), min_size=1, max_size=12))
@settings(max_examples=15)
def test_arrays_are_equal_to_scalars_as_integers(name: str, lengths: list[int]) -> None:
    method = METHODS[name]
    for model in (model_for(method), PRESETS["opt-175b"], PRESETS["llama-3-8b"]):
        if method not in methods_for(model):
            continue
        many = estimate_method(model, np.array(lengths), method)
        for index, tokens in enumerate(lengths):
            one = estimate_method(model, tokens, name)
            for field in ("flops", "state_bytes", "activation_bytes"):
                value = getattr(one, field)
                assert type(value) is int
                assert value == getattr(many, field)[index]
                assert value > 0


def test_an_array_does_not_overflow() -> None:
    tokens = 2_048_000
    flops = estimate_method(PRESETS["opt-175b"], [tokens], "full").flops
    work = Workload(tokens=tokens)
    assert flops[0] == estimate_flops(PRESETS["opt-175b"], work, None, "matmul").total > 2**63


@pytest.mark.parametrize("model", ["opt-350m", "llama-3-8b", "bert-base-cased", "gpt2"])
@given(tokens=st.integers(1, 10**6))
@settings(max_examples=25)
def test_full_and_rmt_are_those_of_the_conventions(model: str, tokens: int) -> None:
    spec, work = PRESETS[model], Workload(tokens=tokens)
    for name, recurrence in (("full", None), ("rmt", Recurrence(512, 10))):
        direct = estimate_flops(spec, work, recurrence, "matmul")
        assert estimate_method(spec, tokens, name).flops == direct.total
        assert estimate_flops(spec, work, METHODS[name], "matmul") == direct
        assert estimate_memory(spec, work, METHODS[name]) == estimate_memory(spec, work, recurrence)


@EVERY
@pytest.mark.parametrize("options", [{}, {"mode": "train"}, {"checkpoint_layers": True}])
def test_breakdown_memory_and_time(name: str, options: dict[str, object]) -> None:
    method = METHODS[name]
    model, device = model_for(method), find_device("h100-sxm")
    mode = "train" if options else "forward"
    work = Workload(tokens=9000, precision="bf16", logits="last", **{"mode": mode, **options})  # type: ignore[arg-type]
    flops = estimate_flops(model, work, method, "matmul")
    assert flops.total == sum(flops.by_name().values())
    assert all(type(term.amount) is int and term.amount > 0 for term in flops.terms)
    forward = sum(term.amount for term in flops.terms if term.phase == "forward")
    assert forward == estimate_method(model, 9000, method).flops
    if mode == "train" and name != "rmt":
        backward = sum(term.amount for term in flops.terms if term.phase == "backward")
        assert backward == 2 * forward
    peak = estimate_memory(model, work, method)
    assert peak.total == sum(peak.by_name().values())
    assert all(type(term.amount) is int for term in peak.terms)
    weights = peak.by_name()["persistent.weights"]
    assert weights > 2 * method.weights(model)
    time = estimate_time(model, work, device, method)
    ideal = flops.total / 2 / device.flops_per_second("bf16")  # attention's square is halved
    assert time.seconds > ideal * 0.99


@pytest.mark.parametrize("name", ["mamba", "sliding-window", "transformer-xl"])
def test_a_plan_names_the_first_length_that_is_cheaper(name: str) -> None:
    method, device = METHODS[name], find_device("h100-sxm")

    def work(tokens: int) -> Workload:
        return Workload(tokens=tokens, precision="bf16", logits="last")

    plan = make_plan(DECODER, work(1), method, device, "matmul")
    assert plan.segment_size is None
    assert plan.less_memory_checkpointed_tokens is None
    first = plan.fewer_flops_tokens
    assert first is not None

    def cost(tokens: int, design: Method | None) -> int:
        return estimate_flops(DECODER, work(tokens), design, "matmul").total

    assert cost(first, method) < cost(first, None)
    assert cost(first - 1, method) >= cost(first - 1, None)
    assert plan.longest_tokens is not None
    assert (
        estimate_memory(DECODER, work(plan.longest_tokens), method).total
        <= device.usable_memory_bytes
    )


@given(
    first=st.lists(st.integers(0, 10**9), min_size=1, max_size=5),
    second=st.integers(1, 10**9),
)
def test_arithmetic_without_branches(first: list[int], second: int) -> None:
    array: Count = np.array(first, dtype=object)
    assert list(smaller(array, second)) == [min(value, second) for value in first]
    assert list(larger(array, second)) == [max(value, second) for value in first]
    assert list(ceil_div(array, second)) == [math.ceil(value / second) for value in first]
    assert 2 ** ceil_log2(second) >= second > 2 ** ceil_log2(second) // 2


@EVERY
def test_what_a_method_says_of_itself(name: str) -> None:
    method = METHODS[name]
    assert method.name == name
    assert method.source in {reference.key for reference in REFERENCES}
    assert set(method.growth) <= set(EXPONENTS)
    assert set(method.kinds) <= {"decoder", "encoder"}
    if method.reported:
        assert " et al. " in method.reported.source or "Gu and Dao" in method.reported.source


def test_refusals() -> None:
    with pytest.raises(BadInput, match=r"method 'mamba': bert-large-cased is an encoder, expected"):
        find_method("mamba", ENCODER)
    with pytest.raises(BadInput, match=r"method 'longt5': opt-1.3b is a decoder, expected an enco"):
        estimate_flops(DECODER, Workload(tokens=9), METHODS["longt5"], "matmul")
    with pytest.raises(BadInput, match=r"method 'mambo': did you mean mamba\? expected one of"):
        rmtscale.estimate_method(DECODER, 512, "mambo")
    with pytest.raises(BadInput, match="convention 'paper': expected matmul, the one that method"):
        estimate_flops(DECODER, Workload(tokens=9), METHODS["s4"], "paper")
    with pytest.raises(BadInput, match="bptt segments 2: expected only with method rmt"):
        estimate_memory(DECODER, Workload(tokens=9, bptt_segments=2), METHODS["s4"])
    with pytest.raises(BadInput, match="tokens 0: expected whole numbers of 1 or more"):
        estimate_method(DECODER, [5, 0], "s4")
    with pytest.raises(BadInput, match="tokens of type float64: expected whole numbers"):
        estimate_method(DECODER, np.array([1.5]), "s4")
    short = replace(PRESETS["gpt2"], positions=64)
    with pytest.raises(BadInput, match="segment size 512: expected 64 or less"):
        estimate_method(short, 100, "armt")
