"""The roofline by hand; that it is a lower bound of what was measured is in test_measured."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from rmtscale.costs.conventions import pass_terms
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.parameters import count_parameters
from rmtscale.costs.roofline import estimate_time, moved_elements, seen_pairs
from rmtscale.errors import BadInput
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.current import PRESETS as CURRENT
from rmtscale.specs.devices import find_device
from rmtscale.specs.reading import read
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

H200 = find_device("h200")
GPT2 = PRESETS["gpt2"]


def test_arithmetic_bound_work_takes_its_flops() -> None:
    """A long pass with eager attention on an encoder: nothing is skipped, FLOPs over the peak."""
    model = PRESETS["bert-large-cased"]
    work = Workload(tokens=512, batch_size=64, precision="bf16")
    estimate = estimate_time(model, work, H200)
    flops = estimate_flops(model, work, None, "matmul").total
    assert estimate.bound == "arithmetic"
    assert estimate.seconds >= flops / H200.flops_per_second("bf16")
    assert estimate.seconds < 1.2 * flops / H200.flops_per_second("bf16")


def test_one_token_is_bound_by_reading_the_weights() -> None:
    work = Workload(tokens=1, precision="bf16")
    estimate = estimate_time(PRESETS["opt-6.7b"], work, H200)
    assert estimate.bound == "bandwidth"
    weights_seconds = 2 * 6.65e9 / H200.bandwidth_bytes_per_second
    assert estimate.seconds == pytest.approx(weights_seconds, rel=0.02)


def test_fused_causal_attention_skips_half_of_the_square() -> None:
    def logits(attention: str) -> float:
        work = Workload(tokens=100_000, attention=attention, precision="bf16")
        return estimate_time(GPT2, work, H200).terms["forward.logits"]

    assert logits("sdpa") == pytest.approx(4 * 12 * 100_000**2 * 768 / 4 / 989.4e12, rel=0.01)
    assert logits("eager") > 2 * logits("sdpa")


def test_recomputing_costs_a_forward_pass_but_for_the_head() -> None:
    plain = Workload(tokens=8000, mode="train")
    again = Workload(tokens=8000, mode="train", checkpoint_segments=True)
    recurrence = Recurrence(1000, 2)
    forward = estimate_time(GPT2, Workload(tokens=8000), H200, recurrence)
    extra = (
        estimate_time(GPT2, again, H200, recurrence).seconds
        - estimate_time(GPT2, plain, H200, recurrence).seconds
    )
    assert extra == pytest.approx(forward.seconds - forward.terms["forward.head"])


def test_the_optimizer_moves_its_state() -> None:
    step = estimate_time(GPT2, Workload(tokens=1, mode="train", precision="fp32"), H200).terms[
        "optimizer.step"
    ]
    assert step == pytest.approx(7 * 4 * 124_439_808 / 4.8e12)


def test_a_dtype_the_device_lacks() -> None:
    with pytest.raises(BadInput, match="dtype 'bf16': v100-16gb"):
        estimate_time(GPT2, Workload(tokens=1, precision="bf16"), find_device("v100-16gb"))


@pytest.mark.parametrize("window", [0, 1, 5, 9, 10, 14])
def test_pairs_that_are_seen(window: int) -> None:
    """Query by query, key by key."""
    for tokens in (1, 2, 9, 10, 11):
        pairs = [(q, k) for q in range(tokens) for k in range(q + 1)]
        assert seen_pairs(tokens, window) == sum(not window or q - k < window for q, k in pairs)


STEPS: list[dict[str, Any]] = [
    {"logits": "all"},
    {"attention": "eager", "precision": "fp32"},
    {"mode": "train", "optimizer": "sgd", "accumulate": 3},
    {"mode": "train", "checkpoint_layers": True, "attention": "eager"},
    {"mode": "train", "checkpoint_segments": True, "optimizer": "none"},
]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", ["gpt2", "bert-base-cased", "mistral-7b", "mixtral-8x7b"])
def test_every_operation_takes_the_longer_of_both(name: str, step: dict[str, Any]) -> None:
    """Of a pass over everything and of segments, the shorter one first."""
    model = PRESETS[name] if name in PRESETS else read(CURRENT[name].config, name).spec
    work = Workload(tokens=2 * 108 + 50 if model.decoder else 2 * 115 + 50, batch_size=2, **step)
    recurrence = Recurrence(128, 10)
    text, overhead = recurrence.segment_tokens(model), recurrence.overhead(model)
    segments = [(128, text)] * 2 + [(50 + overhead, 50)]
    for design, passes in ((None, [(work.tokens, work.tokens)]), (recurrence, segments)):
        expected: dict[str, float] = defaultdict(float)
        bound_by_arithmetic = 0.0
        for index, (size, part) in enumerate(passes):
            for term in pass_terms("matmul", model, size, part):
                if term.once and index:
                    continue
                fused, flops = work.attention == "sdpa", 2.0 * term.flops
                if term.square and fused and model.decoder:
                    flops *= seen_pairs(size, term.window) / size**2
                bytes_ = work.dtype_bytes * moved_elements(term, 2, fused=fused)
                both = flops / H200.flops_per_second(work.dtype), bytes_ / 4.8e12
                # Of an encoder, only the last segment leads to the answer by more than its memory.
                phases = {"forward": 1, "backward": 2 * work.train}
                again = work.checkpoint_layers and term.in_block
                if again and term.name == "dense_down":
                    again = bool(model.hidden_dropout) or model.post_norm
                if work.checkpoint_segments and design is not None:
                    again = not term.once and term.name != "head"
                phases["recompute"] = int(again and work.train)
                for phase, times in phases.items():
                    seconds = times * work.accumulate * max(both)
                    expected[f"{phase}.{term.name}"] += seconds
                    bound_by_arithmetic += seconds * (both[0] >= both[1])
        numbers = {"adamw": 7, "sgd": 3, "none": 0}[work.optimizer] * work.train
        expected["optimizer.step"] += (
            numbers * count_parameters(model).total * work.dtype_bytes / 4.8e12
        )
        found = estimate_time(model, work, H200, design)
        wanted = {name: seconds for name, seconds in expected.items() if seconds}
        assert found.terms == pytest.approx(wanted, rel=1e-9)
        assert found.arithmetic_seconds == pytest.approx(bound_by_arithmetic, rel=1e-9)


def test_a_mixture_reads_the_experts_that_are_used() -> None:
    """Two a token of eight: three sequences of one token need six, of two tokens all."""
    model = read(CURRENT["mixtral-8x7b"].config, "mixtral").spec
    (up,) = (term for term in pass_terms("matmul", model, 1, 1) if term.name == "expert_up")
    one = 32 * 4096 * 2 * 14336
    activations = 32 * 2 * (4096 + 2 * 14336)
    for batch, experts in ((1, 2), (3, 6), (4, 8), (5, 8)):
        assert moved_elements(up, batch, fused=True) == experts * one + batch * activations


def test_what_limits_most_of_the_time_is_named() -> None:
    found = estimate_time(GPT2, Workload(tokens=100), H200)
    for share, bound in ((0.5, "arithmetic"), (0.499, "bandwidth")):
        assert replace(found, arithmetic_seconds=share * found.seconds).bound == bound
