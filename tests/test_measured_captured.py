"""Captured training steps of GPT-2 on an H200, against what is predicted of them.

No constant was found from any of them; the rule for compiled segments (``costs.time.fused``) was
chosen after looking at these points. ``docs/accuracy.md`` states the errors.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytest

from rmtscale.costs.plan import make_plan
from rmtscale.costs.time.step_time import StepTime
from rmtscale.costs.time_range import predicted_step
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

ROOT = Path(__file__).parents[1]
FASTEST = ROOT / "profiles" / "nvidia-h200" / "bench" / "fastest.jsonl"
ACCURACY = " ".join((ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8").split())
H200 = find_device("h200")
CHOSEN_UNIX_SECONDS = 1_796_000_000
"""Runs until then were there when the rule was chosen; later ones are new to it."""
DTYPES = {"float32": "fp32", "bfloat16": "bf16"}


class Step(NamedTuple):
    """One measured training step, and its prediction."""

    name: str
    compiled: bool
    seconds: float
    predicted: StepTime

    @property
    def error(self) -> float:
        return abs(self.predicted.seconds / self.seconds - 1)


def asked(options: dict[str, Any]) -> tuple[ModelSpec, Workload]:
    """The model and the workload of a line."""
    words = options.get("pad_vocabulary_to") or PRESETS["gpt2"].vocabulary
    work = Workload(
        tokens=options["tokens"],
        mode="train",
        precision=DTYPES[options.get("dtype", "float32")],
        attention=options.get("attention", "sdpa"),
        optimizer="adamw-fused",
        dropout=None if options.get("dropout") else False,
        checkpoint_segments=bool(options.get("checkpoint")),
        capture=bool(options.get("capture")),
        compile_step=bool(options.get("compile_step")),
    )
    return replace(PRESETS["gpt2"], vocabulary=words), work


@cache
def lines() -> tuple[dict[str, Any], ...]:
    """Training steps of each run; of captured ones those that the record says were captured."""
    found = [json.loads(line) for line in FASTEST.read_text(encoding="utf-8").splitlines()]
    return tuple(
        line
        for line in found
        if line["kind"].endswith(":training")
        and line["run_started_unix_seconds"] < CHOSEN_UNIX_SECONDS
        and line["outcome"] == "ok"
        and (not line["options"].get("capture") or line.get("captured_shapes"))
    )


@cache
def steps() -> tuple[Step, ...]:
    """Every captured step, by its last run."""
    last = {line["point"]: line for line in lines() if line["options"].get("capture")}
    found = []
    for name, line in last.items():
        model, work = asked(line["options"])
        predicted = predicted_step(model, work, H200, Recurrence(line["options"]["segment"], 2))
        assert predicted is not None
        found.append(Step(name, work.compile_step, min(line["event_seconds"]), predicted))
    return tuple(found)


@pytest.mark.parametrize(
    ("compiled", "points", "median_error", "worst_error"),
    [(False, 4, 0.03, 0.05), (True, 6, 0.02, 0.08)],
)
def test_captured_steps(
    compiled: bool, points: int, median_error: float, worst_error: float
) -> None:
    found = [one for one in steps() if one.compiled == compiled]
    for one in found:
        sys.stdout.write(f"\n{one.name}: {one.seconds:.4f} s, {one.predicted.seconds:.4f}")
    errors = [one.error for one in found]
    assert len(found) == points
    assert median(errors) <= median_error
    assert max(errors) <= worst_error
    for one in found:
        assert one.predicted.least_seconds <= one.seconds <= one.predicted.most_seconds
    words = f"{100 * median(errors):.1f} % in the median and {100 * max(errors):.1f} % at worst"
    assert words in ACCURACY


def test_captured_steps_cross_where_they_were_measured() -> None:
    """Where a captured step was measured to be faster, it is not said to be so only later; where it
    was slower, not earlier."""
    full = {}
    for line in lines():
        if line["options"]["method"] == "full":
            _, work = asked(line["options"])
            full[line["run_started_unix_seconds"], work] = min(line["event_seconds"])
    held = 0
    for line in lines():
        if not line["options"].get("capture"):
            continue
        model, work = asked(line["options"])
        plain = replace(work, capture=False, compile_step=False, checkpoint_segments=False)
        beside = full.get((line["run_started_unix_seconds"], plain))
        if beside is None or work.checkpoint_segments or model != PRESETS["gpt2"]:
            continue
        design = Recurrence(line["options"]["segment"], 2)
        plan = make_plan(model, replace(work, tokens=1), design, H200, "matmul")
        least, most = plan.less_time_least_tokens, plan.less_time_most_tokens
        sys.stdout.write(f"\n{line['point']}: {least} to {most}")
        if min(line["event_seconds"]) < beside:
            assert least is not None
            assert least <= work.tokens
        else:
            assert most is None or most > work.tokens
        held += 1
    assert held >= 7


def test_a_plan_says_both() -> None:
    """Captured steps overtake earlier than eager ones, and the interval is narrower."""
    work = Workload(tokens=1, mode="train", precision="fp32")
    plan = make_plan(PRESETS["gpt2"], work, Recurrence(1000, 2), H200, "matmul")
    assert plan.capturable
    captured = make_plan(
        PRESETS["gpt2"], replace(work, capture=True), Recurrence(1000, 2), H200, "matmul"
    )
    assert not captured.capturable
    assert plan.less_time_captured_least_tokens == captured.less_time_least_tokens
    assert plan.less_time_captured_most_tokens == captured.less_time_most_tokens
    assert plan.less_time_captured_most_tokens is not None
    assert plan.less_time_most_tokens is not None
    assert plan.less_time_captured_most_tokens < plan.less_time_most_tokens
