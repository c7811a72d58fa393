"""Steps of toys a few numbers wide, which say what the host needs to start an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from time import perf_counter
from typing import Any

import torch

from rmtscale.costs.time.host_time import started
from rmtscale.costs.time.measured import MeasuredHost
from rmtscale.costs.time.optimizer_kernels import trained_tensor_count
from rmtscale.costs.time.step_kernels import step_kernels
from rmtscale.profiler.host_loop import loop_seconds
from rmtscale.profiler.subject import Subject
from rmtscale.records.point import Point
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.model import ModelSpec

_TOY_STEPS = 24
_TOY_SIZES: dict[str, Any] = {
    "width": 64,
    "heads": 4,
    "head_width": 16,
    "mlp_width": 128,
    "embedding_width": 64,
    "vocabulary": 256,
}
_TOYS = ("gpt2", "opt-125m", "pythia-160m", "llama-3.2-1b")


def toy_steps(device: str) -> Iterator[MeasuredHost]:
    """Yields steps of models so small that the host alone sets their pace, a loop beside each."""
    for name in _TOYS:
        spec = PRESETS[name]
        grouped = spec.kv_heads != spec.heads
        toy = replace(
            spec,
            **_TOY_SIZES,
            layers=2 if device != "cuda" else 6,
            kv_heads=2 if grouped else 4,
            rotary_width=(16 if spec.kind == "llama" else 4) if spec.rotary_width else 0,
        )
        for method in ("full", "rmt"):
            for mode in ("forward", "train"):
                if (method, mode) != ("rmt", "forward"):
                    yield _toy(toy, method, mode, device)


def _toy(toy: ModelSpec, method: str, mode: str, device: str) -> MeasuredHost:
    segments: dict[str, Any] = {}
    if method == "rmt":
        segments = {"segment_size": 24, "memory_tokens": 2}
    point = Point(
        model=toy,
        method=method,  # type: ignore[arg-type]
        tokens=60 if segments else 20,
        mode=mode,  # type: ignore[arg-type]
        precision="fp32",
        optimizer="adamw" if mode == "train" else None,
        device=device,  # type: ignore[arg-type]
        **segments,
    )
    subject = Subject(point)
    for _ in range(3):
        subject.step()
    loop = loop_seconds()
    seconds = _shortest_step(subject.step, cuda=device == "cuda")
    loop = min(loop, loop_seconds())
    recurrence = point.recurrence()
    parts = step_kernels(point.built_model, point.workload(), recurrence)
    tensors = 0
    if mode == "train":
        memory_tokens = 0 if recurrence is None else recurrence.memory_tokens
        tensors = trained_tensor_count(toy, point.workload(), memory_tokens)
    return MeasuredHost(
        *started(parts, tensors), seconds=seconds, loop_seconds=loop, name=point.title()
    )


def _shortest_step(step: Callable[[], None], *, cuda: bool) -> float:
    shortest = float("inf")
    for _ in range(_TOY_STEPS if cuda else 3):
        begun = perf_counter()
        step()
        if cuda:
            torch.cuda.synchronize()
        shortest = min(shortest, perf_counter() - begun)
    return shortest
