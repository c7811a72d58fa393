"""Kernels of a step in closed form, against every operator of the real modules on ``meta``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from rmtscale.costs.time.kernels import STREAMS, Attention, Kernel, Matmul, moved_bytes
from rmtscale.costs.time.step_kernels import FORWARD, OPTIMIZER, has_kernels, step_kernels
from rmtscale.costs.time.stream_time import SPEEDS
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import OPTIMIZERS, Workload

pytest.importorskip("torch")
pytest.importorskip("transformers")
from tests.costs import oracle_memory as oracle
from tests.costs.oracle_kernels import traced

FAMILIES = ("gpt2", "opt-125m", "gpt-neo-125m", "pythia-70m", "llama-3.2-1b", "bert-base-cased")
STEPS = [
    (mode, precision, attention, segments, more)
    for mode in ("train", "forward")
    for precision in ("fp32", "bf16", "amp-bf16")
    for attention, batch in (("sdpa", 1), ("eager", 2))
    for segments in (None, Recurrence(64, 3))
    for more in ({"batch_size": batch, "dropout": False},)
] + [
    ("train", "bf16", "sdpa", Recurrence(64, 3), {"checkpoint_segments": True}),
    ("train", "fp32", "eager", None, {"checkpoint_layers": True}),
]
THOROUGH = os.environ.get("RMTSCALE_THOROUGH") == "1"
FEWER_COUNT = 0.06
"""What the handling of integers may differ by: ids, positions, labels."""
BYTES = 0.04


def key(phase: str, kernel: Kernel) -> tuple[Any, ...]:
    """What a kernel is in the oracle; which side of a product is transposed does not matter."""
    if isinstance(kernel, Matmul):
        sides = sorted((kernel.rows, kernel.columns))
        return (phase, "matmul", kernel.batch, *sides, kernel.inner, kernel.width)
    assert isinstance(kernel, Attention)
    sizes = (kernel.heads, kernel.size, kernel.head_width, kernel.width)
    return (phase, "attention", kernel.backward, *sizes)


def noted(found: Counter[Any]) -> tuple[Counter[Any], int, int]:
    """Matmuls and attention by their dimensions; how many kernels stream, and their bytes."""
    exact: Counter[Any] = Counter()
    count = moved = 0
    for one, times in found.items():
        if one[1] == "matmul":
            phase, name, batch, rows, columns, *rest = one
            exact[phase, name, batch, *sorted((rows, columns)), *rest] += times
        elif one[1] == "attention":
            exact[one] += times
        else:
            count += times
            moved += times * one[2]
    return exact, count, moved


def listed(parts: Iterable[Any]) -> tuple[Counter[Any], int, int]:
    exact: Counter[Any] = Counter()
    count = moved = 0
    for part in parts:
        for kernel in part.kernels.kernels:
            if isinstance(kernel, Matmul | Attention):
                exact[key(part.phase, kernel)] += part.times
            else:
                count += part.times
        moved += part.times * moved_bytes(part.kernels.kernels)
    return exact, count, moved


@pytest.mark.parametrize(
    ("name", "step"),
    [
        (name, step)
        for row, name in enumerate(FAMILIES)
        for column, step in enumerate(STEPS)
        if THOROUGH or (column + 5 * row) % 13 == 0
    ],
)
def test_kernels_are_those_of_the_real_module(name: str, step: tuple[Any, ...]) -> None:
    """All matmuls and attentions as integers; what streams by count and bytes."""
    mode, precision, attention, segments, more = step
    spec = replace(oracle.shrink(PRESETS[name], 4), vocabulary=1000)
    if spec.positions is not None:
        spec = replace(spec, positions=256, position_rows=256 + 2 * (spec.kind == "opt"))
    work = Workload(
        **{"tokens": 256 if segments is None else 250, "mode": mode, "precision": precision},
        **{"attention": attention, "logits": "all", "optimizer": "none"},
        **more,
    )
    exact, count, moved = noted(traced(spec, work, segments))
    ours, our_count, our_bytes = listed(step_kernels(spec, work, segments))
    assert ours == exact
    assert our_count == pytest.approx(count, rel=FEWER_COUNT, abs=30 if segments else 3)
    assert our_bytes == pytest.approx(moved, rel=BYTES)


def test_every_kind_of_stream_has_a_speed() -> None:
    assert set(SPEEDS) == set(STREAMS)


def test_captured_are_the_full_segments_only() -> None:
    model, work = PRESETS["opt-125m"], Workload(tokens=4000)
    parts = step_kernels(model, work, Recurrence(1000, 2), cuda_graph=True)
    runs = {part.captured: part.times for part in parts if part.phase == FORWARD}
    assert runs[True] == 4 * model.layers
    assert not any(part.captured for part in step_kernels(model, work, Recurrence(1000, 2)))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_moves_its_numbers(name: str) -> None:
    work = Workload(tokens=64, mode="train", optimizer=name)
    parts = step_kernels(PRESETS["gpt2"], work)
    moved = sum(moved_bytes(one.kernels.kernels) for one in parts if one.phase == OPTIMIZER)
    weights = 124_439_808 * 2
    assert (moved >= 3 * weights) == (name != "none")


def test_which_models_have_kernels() -> None:
    work = Workload(tokens=64)
    assert all(has_kernels(PRESETS[name], work, None) for name in FAMILIES)
