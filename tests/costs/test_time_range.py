"""The slow end of a time: which operators the host starts, and at what pace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rmtscale.costs.methods.catalog import METHODS
from rmtscale.costs.operators import count_operators
from rmtscale.costs.parameters import count_parameters
from rmtscale.costs.roofline import estimate_time
from rmtscale.costs.time.constants import BANDWIDTH
from rmtscale.costs.time.constants_file import known_constants
from rmtscale.costs.time.step_time import step_time
from rmtscale.costs.time_range import operators, slow_end, step_seconds
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.current import PRESETS as CURRENT
from rmtscale.specs.devices import find_device
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.quantization.reading import quantize
from rmtscale.specs.reading import read
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.spread import Spread
from rmtscale.specs.workload import Workload
from tests.specs.tiny_configs import TINY

A100, GPT2 = find_device("a100-80gb"), PRESETS["gpt2"]
RMT = Recurrence(512, 10)
TRAIN = Workload(tokens=3000, mode="train", precision="fp32")


def about(least: float, most: float) -> Any:
    """A range, but for rounding."""
    return pytest.approx((least, most), rel=1e-12)


def layered(name: str) -> ModelSpec:
    return read(CURRENT[name].config, name).spec


def test_the_slow_end() -> None:
    """0.3 of the peaks, and 50 us an operator, or 10 where they are captured."""
    assert slow_end(3.0, 1000, captured=False) == about(3.0, 3.0 / 0.3 + 0.05)
    assert slow_end(3.0, 1000, captured=True) == about(3.0, 3.0 / 0.3 + 0.01)


def test_operators_of_the_families_are_counted() -> None:
    counted = count_operators(GPT2, TRAIN, RMT)
    assert operators(GPT2, TRAIN, RMT) == counted
    assert operators(GPT2, replace(TRAIN, accumulate=3), RMT) == 3 * counted
    for precision, times in (("bf16", 1.2), ("amp-bf16", 1.5), ("tf32", 1.0)):
        given = replace(TRAIN, precision=precision)
        assert operators(GPT2, given, RMT) == round(times * counted)
    adapted = replace(TRAIN, precision="bf16", adapter=Adapter("lora"))
    plain = count_operators(GPT2, adapted, RMT)
    assert operators(GPT2, adapted, RMT) == round(1.5 * plain)
    assert operators(GPT2, TRAIN, METHODS["mamba"]) == 0


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({"mode": "forward"}, 1),
        ({}, 3),
        ({"checkpoint_layers": True}, 4),
        ({"checkpoint_segments": True}, 4),
    ],
)
def test_of_other_layers_so_many_are_taken(settings: dict[str, Any], passes: int) -> None:
    """40 a layer, and 12 for each expert that a token may need, in each segment."""
    given = replace(TRAIN, **settings)
    dense, experts = layered("qwen3-8b"), layered("mixtral-8x7b")
    assert operators(dense, given, None) == 36 * 40 * passes
    assert operators(dense, given, RMT) == 36 * 40 * passes * 7  # of 492 tokens of text each
    assert operators(experts, given, None) == 32 * (40 + 12 * 8) * passes
    few = replace(given, tokens=1, batch_size=3)
    assert operators(experts, few, None) == 32 * (40 + 12 * 2 * 3) * passes
    short = Recurrence(3, 1)
    assert operators(experts, replace(given, tokens=5), short) == 5 * 32 * (40 + 12 * 6) * passes


def test_an_encoder_has_operators_of_its_own() -> None:
    model = read(TINY["t5"], "tiny").spec
    layers = TINY["t5"]["num_layers"] + TINY["t5"]["num_decoder_layers"]
    work = Workload(tokens=9, precision="fp32")
    assert operators(model, work, None) == 40 * layers


OTHER = read(TINY["t5"], "tiny").spec
"""Layers whose kernels are not known."""


def test_a_range_begins_at_the_roofline() -> None:
    """Where kernels are not known; of quantised weights they are not."""
    work = Workload(tokens=3000, precision="bf16")
    for model in (OTHER, quantize(GPT2, "int8")):
        roofline = estimate_time(model, work, A100).seconds
        started = operators(model, work, None)
        for captured in (False, True):
            found = step_seconds(model, work, A100, captured=captured)
            assert found == slow_end(roofline, started, captured=captured)


def test_tf32_is_slower_and_an_optimizer_on_the_host_too() -> None:
    tf32 = replace(TRAIN, precision="tf32")
    roofline = estimate_time(OTHER, tf32, A100).seconds
    slow = roofline / 0.1 + operators(OTHER, tf32, None) * 50e-6
    assert step_seconds(OTHER, tf32, A100) == about(roofline, slow)
    # Gradients there and weights back, of two bytes each, at a gigabyte a second.
    there = replace(TRAIN, precision="bf16", offload_optimizer=True, host_memory_bytes=2**40)
    here = replace(TRAIN, precision="bf16")
    least, most = step_seconds(OTHER, there, A100)
    plain = slow_end(
        estimate_time(OTHER, there, A100).seconds, operators(OTHER, here, None), captured=False
    )
    moved = 2 * 2 * count_parameters(OTHER).total / 1e9
    assert (least, most) == about(plain.least_seconds, plain.most_seconds + moved)


def test_known_kernels_give_their_interval() -> None:
    """Of captured segments too; constants that are given replace those that are known."""
    for work, design, captured in (
        (TRAIN, None, False),
        (replace(TRAIN, mode="forward"), RMT, True),
    ):
        known = known_constants(A100)
        step = step_time(GPT2, work, known, design, cuda_graph=captured)
        found = step_seconds(GPT2, work, A100, design)
        assert found == (step.least_seconds, step.most_seconds)
        slower = replace(known, spreads={**known.spreads, BANDWIDTH: Spread(*[1e12] * 3)})
        assert step_seconds(GPT2, work, A100, design, slower) > found
