"""The roofline is a lower bound: of peaks by arithmetic, and of what an H200 measured."""

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

# GPT-2 small, batch 1, fp32 training step without dropout, milliseconds: prototypes measured on
# one H200 with torch 2.11. Method (segment with its 4 memory tokens), attention, tokens, time.
MEASURED = [
    (None, "sdpa", 1000, 33),
    (None, "sdpa", 4000, 121),
    (None, "sdpa", 8000, 286),
    (None, "sdpa", 16000, 789),
    (None, "eager", 4000, 167),
    (None, "eager", 8000, 495),
    (504, "sdpa", 4000, 188),
    (504, "sdpa", 16000, 628),
    (1004, "sdpa", 4000, 125),
    (1004, "sdpa", 16000, 483),
]


@pytest.mark.parametrize(("segment", "attention", "tokens", "milliseconds"), MEASURED)
def test_below_what_was_measured_but_not_far(
    segment: int | None, attention: str, tokens: int, milliseconds: int
) -> None:
    work = Workload(tokens=tokens, mode="train", attention=attention)
    recurrence = Recurrence(segment, 2) if segment else None
    share = estimate_time(GPT2, work, H200, recurrence).seconds * 1000 / milliseconds
    assert 0.2 < share < 1


def test_arithmetic_bound_work_takes_its_flops() -> None:
    """A long pass with eager attention on an encoder: nothing is skipped, FLOPs over the peak."""
    model = PRESETS["bert-large-cased"]
    work = Workload(tokens=512, batch_size=64, dtype="bf16")
    estimate = estimate_time(model, work, H200)
    flops = estimate_flops(model, work, None, "matmul").total
    assert estimate.bound == "arithmetic"
    assert estimate.seconds >= flops / H200.flops_per_second("bf16")
    assert estimate.seconds < 1.2 * flops / H200.flops_per_second("bf16")


def test_one_token_is_bound_by_reading_the_weights() -> None:
    work = Workload(tokens=1, dtype="bf16")
    estimate = estimate_time(PRESETS["opt-6.7b"], work, H200)
    assert estimate.bound == "bandwidth"
    weights_seconds = 2 * 6.65e9 / H200.bandwidth_bytes_per_second
    assert estimate.seconds == pytest.approx(weights_seconds, rel=0.02)


def test_fused_causal_attention_skips_half_of_the_square() -> None:
    def logits(attention: str) -> float:
        work = Workload(tokens=100_000, attention=attention, dtype="bf16")
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
    step = estimate_time(GPT2, Workload(tokens=1, mode="train"), H200).terms["optimizer.step"]
    assert step == pytest.approx(7 * 4 * 124_439_808 / 4.8e12)


def test_a_dtype_the_device_lacks() -> None:
    with pytest.raises(BadInput, match="dtype 'bf16': v100-16gb"):
        estimate_time(GPT2, Workload(tokens=1, dtype="bf16"), find_device("v100-16gb"))
