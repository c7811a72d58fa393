"""The calibrated time: its parts, and that a fit finds the machine that made the points."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rmtscale.costs.calibration import Calibration, Work, fit_calibration, step_work
from rmtscale.costs.operators import count_operators
from rmtscale.costs.plan import make_plan
from rmtscale.costs.roofline import estimate_time
from rmtscale.costs.terms import ATTENTION_TERMS
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

H200 = find_device("h200")
GPT2 = PRESETS["gpt2"]
RMT = Recurrence(1000, 2)
MACHINE = Calibration(
    device="h200",
    operator_seconds=1e-5,
    captured_operator_seconds=2e-6,
    traffic_factor=3.0,
    matmul_efficiency={"fp32": 0.7, "bf16": 0.5},
    attention_efficiency={"fp32": 0.4, "bf16": 0.3},
)


def work(tokens: int, recurrence: Recurrence | None = None, **fields: Any) -> Work:
    graph = fields.pop("cuda_graph", False)
    return step_work(GPT2, Workload(tokens=tokens, **fields), H200, recurrence, cuda_graph=graph)


def test_the_parts_are_the_roofline_s() -> None:
    one = Workload(tokens=4000, mode="train")
    terms = estimate_time(GPT2, one, H200).terms
    found = step_work(GPT2, one, H200)
    attention = sum(v for k, v in terms.items() if k.split(".")[1] in ATTENTION_TERMS)
    assert found.attention_seconds == pytest.approx(attention)
    rest = sum(terms.values()) - attention - terms["optimizer.step"]
    assert found.matmul_seconds == pytest.approx(rest)
    assert found.traffic_seconds > terms["optimizer.step"]
    eager = step_work(GPT2, replace(one, attention="eager"), H200)
    assert eager.attention_seconds == 0
    assert eager.traffic_seconds > found.traffic_seconds


def test_the_slower_of_host_and_gpu() -> None:
    base = Work("fp32", 0.7, 0.0, 0.0, 1000, 0)
    assert MACHINE.seconds(base) == pytest.approx(1.0)
    assert MACHINE.seconds(base._replace(operators=500_000)) == pytest.approx(5.0)
    captured = base._replace(operators=10_000, captured_operators=1_000_000)
    assert MACHINE.seconds(captured) == pytest.approx(2.0 + 0.1)


def test_a_captured_rmt_launches_only_its_shorter_segment() -> None:
    one = Workload(tokens=996 * 5 + 10, precision="bf16")
    found = step_work(GPT2, one, H200, RMT, cuda_graph=True)
    every = count_operators(GPT2, one, RMT)
    assert found.captured_operators + found.operators == every
    assert found.operators == every // 6
    plain = step_work(GPT2, one, H200, RMT)
    assert (plain.operators, plain.captured_operators) == (every, 0)


def test_logits_that_are_not_formed_take_no_time() -> None:
    every, last = work(16_000, logits="all"), work(16_000, logits="last")
    assert last.matmul_seconds < every.matmul_seconds
    assert last.traffic_seconds < every.traffic_seconds


@pytest.mark.parametrize(
    ("fields", "times", "logits"),
    [
        ({"logits": "all"}, 1, 1),
        ({"logits": "last"}, 1, 0),
        ({"mode": "train"}, 3, 6),
        ({"mode": "train", "checkpoint_layers": True}, 4, 6),
        ({"mode": "train", "checkpoint_segments": True}, 3, 6),  # full attention has no segments
    ],
)
@pytest.mark.parametrize("name", ["gpt2", "bert-base-cased"])
def test_traffic_is_what_autograd_keeps(
    name: str, fields: dict[str, Any], times: int, logits: int
) -> None:
    """Written, and in training read and answered by a gradient; logits in fp32 beside it."""
    pytest.importorskip("transformers")
    from tests.costs import oracle_memory as oracle

    spec = oracle.shrink(PRESETS[name], 2)
    one = Workload(tokens=40, batch_size=2, optimizer="none", **fields)
    kept = Workload(tokens=40, batch_size=2, mode="train", dropout=None if one.train else False)
    saved = oracle.saved_by_backbone(spec, kept) - 8 * 40 * 2  # token ids are a term of their own
    moved = times * saved + logits * spec.decoder * 2 * 40 * spec.vocabulary * 4
    found = step_work(spec, one, H200).traffic_seconds * H200.bandwidth_bytes_per_second
    assert found == pytest.approx(moved, rel=1e-12)


def test_traffic_of_segments_adds_up() -> None:
    """Three segments and a shorter one, as four passes; recomputed, once more each."""

    def moved(tokens: int, recurrence: Recurrence | None = None, **fields: Any) -> float:
        one = Workload(tokens=tokens, optimizer="none", **fields)
        seconds = step_work(GPT2, one, H200, recurrence).traffic_seconds
        logits = (6 if one.train else 0) * tokens * GPT2.vocabulary * 4
        return seconds * H200.bandwidth_bytes_per_second - logits

    tokens, segments = 3 * 996 + 10, (1000, 1000, 1000, 14)
    forward = sum(moved(size, logits="last") for size in segments)
    trained = sum(moved(size, mode="train") for size in segments)
    assert moved(tokens, RMT) == pytest.approx(forward, rel=1e-12)
    assert moved(tokens, RMT, mode="train") == pytest.approx(trained, rel=1e-12)
    again = moved(tokens, RMT, mode="train", checkpoint_segments=True)
    assert again == pytest.approx(trained * 4 / 3, rel=1e-12)


def test_a_fit_begins_at_a_fixed_start_and_ends_within_half_a_percent() -> None:
    """One number at a time, where nothing else takes time: nothing moves what is right already."""
    base = Work("fp32", 0.0, 0.0, 0.0, 0, 0)
    starts = {
        "operator_seconds": (base._replace(operators=100), 100 * 2e-5),
        "captured_operator_seconds": (base._replace(captured_operators=100), 100 * 4e-6),
        "traffic_factor": (base._replace(traffic_seconds=0.1), 0.1 * 2.0),
        "matmul_efficiency": (base._replace(matmul_seconds=0.3), 0.3 / 0.6),
        "attention_efficiency": (base._replace(attention_seconds=0.2), 0.2 / 0.5),
    }
    for name, (one, seconds) in starts.items():
        fitted = fit_calibration("x", [(one, seconds)])
        assert fitted == fit_calibration("x", [(one, fitted.seconds(one))]), name
        assert fitted.seconds(one) == pytest.approx(seconds, rel=1e-12), name
        for factor in (0.61, 0.7, 0.83, 1.013, 1.3, 1.7, 3.3, 40.0):
            found = fit_calibration("x", [(one, factor * seconds)]).seconds(one)
            assert found == pytest.approx(factor * seconds, rel=0.0051), (name, factor)


def points() -> list[Work]:
    found = []
    for dtype in ("fp32", "bf16"):
        for tokens in (300, 1000, 4000, 16_000, 64_000):
            for attention in ("eager", "sdpa"):
                found.append(work(tokens, precision=dtype, attention=attention))
                found.append(work(tokens, precision=dtype, attention=attention, mode="train"))
            found.append(work(tokens, RMT, precision=dtype, cuda_graph=True))
            found.append(work(tokens, RMT, precision=dtype, mode="train"))
    return found


def test_a_fit_finds_the_machine_that_made_the_points() -> None:
    measured = [(one, MACHINE.seconds(one)) for one in points()]
    fitted = fit_calibration("h200", measured)
    errors = [abs(fitted.seconds(one) / seconds - 1) for one, seconds in measured]
    assert sorted(errors)[len(errors) // 2] < 0.02
    assert fitted.operator_seconds == pytest.approx(MACHINE.operator_seconds, rel=0.1)
    assert fitted.matmul_efficiency["fp32"] == pytest.approx(0.7, rel=0.1)
    assert fitted == fit_calibration("h200", measured), "the same points, the same numbers"
    assert max(fitted.matmul_efficiency.values()) <= 1


def test_a_plan_by_a_slow_host_favours_long_segments() -> None:
    """With a slow host RMT is faster only from a longer input on, above all in short segments."""
    training = Workload(tokens=1, mode="train")

    def start(size: int, machine: Calibration | None) -> int:
        found = make_plan(GPT2, training, Recurrence(size, 2), H200, "hoffmann", machine)
        assert found.less_time_tokens is not None
        return found.less_time_tokens

    slow = replace(MACHINE, operator_seconds=4e-5)
    assert start(1000, None) < start(1000, slow) < start(250, slow)
