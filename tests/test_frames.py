"""Results and records as frames of pandas: the numbers are those of the result."""

from __future__ import annotations

from pathlib import Path

import rmtscale
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.language import LanguageStore

ROOT = Path(__file__).parents[1]
GPT2 = rmtscale.resolve_model("gpt2")
TRAINING = rmtscale.Workload(tokens=4000, mode="train")
H200 = rmtscale.find_device("h200")


def test_a_breakdown() -> None:
    flops = rmtscale.estimate_flops(GPT2, TRAINING, convention="matmul")
    frame = flops.to_frame()
    assert list(frame.columns) == ["phase", "name", "amount", "operator"]
    assert frame["amount"].sum() == flops.total
    by_operator = frame.groupby("operator")["amount"].sum()
    assert by_operator.to_dict() == flops.by_operator()
    memory = rmtscale.estimate_memory(GPT2, TRAINING)
    assert memory.to_frame()["amount"].sum() == memory.total


def test_a_time() -> None:
    time = rmtscale.estimate_time(GPT2, TRAINING, H200)
    frame = time.to_frame()
    assert frame["seconds"].sum() == time.seconds
    assert set(frame["phase"]) == {"forward", "backward", "optimizer"}


def test_a_comparison_and_a_generation() -> None:
    methods = [rmtscale.METHODS[name] for name in ("full", "rmt")]
    frame = rmtscale.compare_methods(GPT2, methods, [1000, 2000]).to_frame()
    assert frame.groupby("method")["flops"].is_monotonic_increasing.all()
    assert len(frame) == 4
    generation = rmtscale.Generation(context_tokens=1000, new_tokens=10)
    cost = rmtscale.estimate_generation(GPT2, generation, H200)
    by_phase = cost.to_frame().set_index("phase")["seconds"]
    assert by_phase.to_dict() == {"prefill": cost.prefill.seconds, "decode": cost.decode.seconds}


def test_measured_records() -> None:
    reading = rmtscale.RecordStore(ROOT / "profiles" / "nvidia-h200" / "gpt2-train.jsonl").read()
    frame = reading.to_frame()
    assert len(frame) == len(reading.records)
    ran = frame[frame["outcome"] == "ok"]
    assert (ran["peak_bytes"] > 0).all()
    assert set(ran["model"]) == {"gpt2"}


def test_evaluations() -> None:
    answers = EvaluationStore(ROOT / "reports" / "figure-5" / "records.jsonl").read()
    frame = answers.to_frame()
    assert list(frame["point.segments"]) == [record.point.segments for record in answers.records]
    losses = LanguageStore(ROOT / "reports" / "figure-7" / "records.jsonl").read().to_frame()
    assert {"model.backbone", "parts.all.loss_nats", "memory.process_bytes"} <= set(losses.columns)
