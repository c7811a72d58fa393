"""The roofline by hand; that it is a lower bound of what was measured is in test_measured."""

from __future__ import annotations

import pytest

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.roofline import estimate_time
from rmtscale.errors import BadInput
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
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
