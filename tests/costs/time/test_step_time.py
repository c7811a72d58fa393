"""Properties of a predicted time: more work is never cheaper, a constant moves its class only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmtscale.costs.time.constants import (
    ATTENTION,
    BACKWARD_OPERATOR,
    BANDWIDTH,
    FORWARD_OPERATOR,
    MATMUL,
    ROW_SHARE,
    TENSOR,
    TimeConstants,
    datasheet_constants,
    rate_name,
)
from rmtscale.costs.time.step_time import StepTime, overlapped, step_time
from rmtscale.errors import BadInput
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import DEVICES, find_device
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.spread import Spread
from rmtscale.specs.workload import Workload

H200 = datasheet_constants(find_device("h200"))
MODELS = ("gpt2", "opt-350m", "gpt-neo-125m", "pythia-160m", "llama-3.2-1b", "bert-base-cased")
WORK = [
    Workload(tokens=1, mode=mode, precision=precision, attention=attention, batch_size=batch)  # type: ignore[arg-type]
    for mode, batch in (("forward", 1), ("train", 8))
    for precision, attention in (("fp32", "eager"), ("bf16", "sdpa"), ("amp-bf16", "sdpa"))
]


def perturbed(name: str, factor: float) -> TimeConstants:
    value = H200[name] * factor
    return replace(H200, spreads={**H200.spreads, name: Spread(value, value, value)})


def wider(model: ModelSpec) -> ModelSpec:
    return replace(
        model,
        width=2 * model.width,
        heads=2 * model.heads,
        kv_heads=2 * model.kv_heads,
        mlp_width=2 * model.mlp_width,
        embedding_width=2 * model.embedding_width,
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("recurrence", [None, Recurrence(200, 2)])
def test_more_work_is_never_cheaper(name: str, recurrence: Recurrence | None) -> None:
    """Twice the tokens, the layers or the width, at lengths between 37 and 20,000."""
    model = replace(PRESETS[name], positions=None)
    for work in WORK:

        def seconds(spec: ModelSpec, tokens: int, work: Workload = work) -> StepTime:
            return step_time(spec, replace(work, tokens=tokens), H200, recurrence)

        for tokens in (37, 500, 1001, 10_000):
            one = seconds(model, tokens)
            layers = replace(model, layers=2 * model.layers)
            for more in (
                seconds(model, 2 * tokens),
                seconds(layers, tokens),
                seconds(wider(model), tokens),
            ):
                assert more.device_seconds > one.device_seconds
                assert more.seconds > one.seconds
            assert one.least_seconds <= one.seconds <= one.most_seconds


@pytest.mark.parametrize(
    ("constant", "parts"),
    [
        (rate_name(MATMUL, "bf16"), {"matmul", "dense"}),
        (rate_name(ATTENTION, "bf16"), {"attention", "dense"}),
        (rate_name(MATMUL, "fp32"), set()),
        (BANDWIDTH, {"matmul", "stream"}),
        (ROW_SHARE, {"stream"}),
        (FORWARD_OPERATOR, {"host"}),
        (BACKWARD_OPERATOR, {"host"}),
        (TENSOR, {"host"}),
    ],
)
def test_a_constant_moves_its_class_only(constant: str, parts: set[str]) -> None:
    work = Workload(tokens=4000, mode="train")
    before = step_time(PRESETS["gpt2"], work, H200)
    after = step_time(PRESETS["gpt2"], work, perturbed(constant, 0.9))
    moved = {
        name
        for name in ("matmul", "attention", "stream", "dense")
        if getattr(before.device, name) != getattr(after.device, name)
    }
    if before.host_seconds != after.host_seconds:
        moved.add("host")
    assert moved == parts


def test_host_and_device_wait_for_each_other() -> None:
    assert overlapped(0.0, 0.0) == 0.0
    assert overlapped(3.0, 0.0) == 3.0
    assert overlapped(1.0, 1.0) == pytest.approx(2**0.25)
    assert overlapped(0.5, 10.0) == pytest.approx(10.0, rel=1e-4)


def test_every_timed_device_has_plausible_constants() -> None:
    """They are made of shares of its datasheet; the making refuses any that cannot be."""
    for device in DEVICES.values():
        if device.timed:
            assert not datasheet_constants(device).measured


@pytest.mark.parametrize(
    ("name", "factor", "words"),
    [
        (BANDWIDTH, 1.3, "expected between"),
        (rate_name(MATMUL, "bf16"), 0.2, "expected between"),
        (TENSOR, 100.0, "expected between"),
        (ROW_SHARE, 0.1, "expected between"),
    ],
)
def test_a_constant_that_no_machine_has_is_refused(name: str, factor: float, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        perturbed(name, factor)


def test_a_constant_lies_between_its_ends() -> None:
    value = H200[BANDWIDTH]
    ends = Spread(value, value * 1.1, value * 1.2)
    with pytest.raises(BadInput, match="between its ends"):
        replace(H200, spreads={**H200.spreads, BANDWIDTH: ends})
    left = {name: one for name, one in H200.spreads.items() if name != BANDWIDTH}
    with pytest.raises(BadInput, match="among them"):
        replace(H200, spreads=left)
