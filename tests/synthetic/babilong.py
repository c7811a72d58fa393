"""Evaluations on BABILong that nobody made: clearly synthetic, for tests only."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from rmtscale.intervals import wilson_interval
from rmtscale.records.measurement import Memory
from rmtscale.study.records.babilong import BabilongPoint, BabilongRecord, BabilongTraining
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.lengths import LENGTHS, samples_of, words_of
from tests.synthetic.records import environment


def babilong(task: str, length: str, accuracy: float, **values: Any) -> BabilongRecord:
    """One length of a model trained on all five tasks, but for what is given."""
    training: dict[str, Any] = {
        "stories": "qa1,qa2,qa3,qa4,qa5",
        "backbone": "gpt-neox-small",
        "steps": 9000,
        "stage": "7 segments, burn-in 256",
        "seed": 0,
        "segments": 7,
        "segment_tokens": 496,
        "memory_tokens": 8,
        "burn_in": (16, 64, 256),
        "fact_fragments": 0.003,
        "replay_lost": True,
        "parameters": 2_000_000,
    }
    later = {"closing_questions", "memory_noise", "late_facts", "burn_in_dead_band"}
    noted = (later | {"lora_rank", "sink_tokens"}) & set(values)
    training |= {name: values.pop(name) for name in noted}
    training["seconds"] = values.pop("training_seconds", None)
    training |= {name: values.pop(name) for name in list(values) if name in training}
    point: dict[str, Any] = {
        "stories": task,
        "length": length,
        "answers": "classes",
        "model": "rmt",
        "weights": sha256(repr(sorted(training.items())).encode()).hexdigest()[:16],
        "background": "prose",
        "samples": samples_of(length),
        "seed": 0,
        "precision": "bf16",
        "device": "cuda",
        "dead_band": 0.0,
        "compile_step": None,
    }
    point |= {name: values.pop(name) for name in list(values) if name in point}
    correct = round(accuracy * point["samples"])
    low, high = wilson_interval(correct, point["samples"])
    tokens = max(round(1.2 * words_of(length)), 60)
    base: dict[str, Any] = {
        "evaluated_at": "2025-01-01T00:00:00+00:00",
        "point": BabilongPoint(**point),
        "training": BabilongTraining(**training),
        "words": words_of(length),
        "tokens": tokens,
        "noise_tokens": 5_000_000,
        "left_out": 0,
        "correct": correct,
        "accuracy": correct / point["samples"],
        "low": low,
        "high": high,
        "batch_size": 100,
        "seconds": 1.0,
        "seconds_per_sample": tokens / 1e7,
        "tokens_per_second": 1e7,
        "memory": Memory(peak_allocated_bytes=400 * 2**20),
        "environment": environment(),
    }
    return BabilongRecord(**{**base, **values})


def rows(
    task: str, accuracy: float, lengths: Iterable[str] = tuple(LENGTHS), **values: Any
) -> list[BabilongRecord]:
    """A model that is equally right at every length."""
    return [babilong(task, length, accuracy, **values) for length in lengths]


def every(
    accuracy: float, lengths: Iterable[str] = tuple(LENGTHS), **values: Any
) -> list[BabilongRecord]:
    """A model of all five tasks that is equally right everywhere."""
    return [record for task in QAS for record in rows(task, accuracy, lengths, **values)]
