"""Evaluations that nobody made: clearly synthetic, for tests only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rmtscale.intervals import wilson_interval
from rmtscale.records.measurement import Memory
from rmtscale.study.records.evaluation import (
    EvaluationPoint,
    EvaluationRecord,
    TrainedBackbone,
)
from tests.synthetic.records import environment

MIB = 1024**2
DECODER = TrainedBackbone(
    name="gpt-neox-small",
    kind="decoder",
    pretrained=False,
    lora_rank=None,
    segment_size=512,
    memory_tokens=4,
)
ENCODER = TrainedBackbone(
    name="minilm",
    kind="encoder",
    pretrained=True,
    lora_rank=16,
    segment_size=512,
    memory_tokens=10,
)
Accuracy = Callable[[int], float]


def evaluation(segments: int, accuracy: float, **values: Any) -> EvaluationRecord:
    """One length of a model trained on 7 segments with seed 0, but for what is given."""
    point: dict[str, Any] = {
        "task": "memorize",
        # Other trainings have other weights.
        "weights": "{:04d}{:04d}{:08d}".format(
            values.get("trained_segments", 7),
            values.get("trained_seed", 0),
            values.get("trained_curriculum", True),
        ),
        "background": "prose",
        "segments": segments,
        "segment_tokens": 504,
        "samples": 1000,
        "seed": 0,
        "precision": "bf16",
        "device": "cuda",
        "dead_band": 0.0,
        "compile_step": None,
        "merged_lora": False,
    }
    point |= {name: values.pop(name) for name in list(values) if name in point}
    correct = round(accuracy * point["samples"])
    low, high = wilson_interval(correct, point["samples"])
    base: dict[str, Any] = {
        "evaluated_at": "2025-01-01T00:00:00+00:00",
        "point": EvaluationPoint(**point),
        "trained_segments": 7,
        "trained_stage": "7 segments, burn-in 256",
        "trained_curriculum": True,
        "trained_steps": 12_000,
        "trained_seed": 0,
        "correct": correct,
        "accuracy": correct / point["samples"],
        "low": low,
        "high": high,
        "batch_size": 100,
        "seconds": 1.0,
        "tokens_per_second": 1e6,
        "memory": Memory(peak_allocated_bytes=300 * MIB),
        "host_ids_bytes": 400 * 504 * segments,
        "environment": environment(),
    }
    return EvaluationRecord(**{**base, **values})


def curve(
    lengths: Iterable[int], accuracy: Accuracy | float, **values: Any
) -> list[EvaluationRecord]:
    """A record of each length."""
    of = accuracy if callable(accuracy) else lambda _: accuracy
    return [evaluation(count, of(count), **values) for count in lengths]
