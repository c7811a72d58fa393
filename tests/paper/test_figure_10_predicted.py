"""Figure 10's claims as the estimator predicts them: GPT-2, fp32, eager attention, AdamW, an 80 GB
card. What a GPU measures is held against the same claims elsewhere."""

from __future__ import annotations

import pytest

from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.roofline import estimate_time
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

GPT2, A100 = PRESETS["gpt2"], find_device("a100-80gb")
SIZES = [500, 1000]


def train(tokens: int) -> Workload:
    return Workload(tokens=tokens, mode="train", precision="fp32", attention="eager")


def peak(tokens: int, size: int | None = None) -> int:
    return estimate_memory(GPT2, train(tokens), Recurrence(size, 2) if size else None).total


def test_full_attention_runs_out_of_memory_at_8000() -> None:
    assert peak(7000) < A100.memory_bytes < peak(8000)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tokens", [4000, 5000, 6000, 7000, 8000])
def test_rmt_is_smaller_and_faster_from_4000_on(tokens: int, size: int) -> None:
    recurrence = Recurrence(size, 2)
    assert peak(tokens, size) < peak(tokens)
    full = estimate_time(GPT2, train(tokens), A100).seconds
    assert estimate_time(GPT2, train(tokens), A100, recurrence).seconds < full


@pytest.mark.parametrize("size", SIZES)
def test_rmt_grows_linearly_and_full_attention_does_not(size: int) -> None:
    text = size - 4
    steps = [peak(text * count, size) for count in (8, 16, 24)]
    assert steps[2] - steps[1] == steps[1] - steps[0] > 0
    squares = [peak(tokens) for tokens in (2000, 4000, 6000)]
    assert squares[2] - squares[1] > 1.5 * (squares[1] - squares[0])


@pytest.mark.parametrize("size", SIZES)
def test_inference_memory_is_constant_but_for_the_ids(size: int) -> None:
    recurrence = Recurrence(size, 2)
    short, long = (
        estimate_memory(GPT2, Workload(tokens=tokens, precision="fp32"), recurrence).total
        for tokens in (8_000, 2_048_000)
    )
    assert long - short == 8 * (2_048_000 - 8_000)
