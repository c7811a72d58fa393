"""A lean segment of GPT-2 by the formulas, against every operator of ``LeanGPT2`` on ``meta``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from rmtscale.costs.captured_steps import graph_streams
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.lean_segment import (
    LEAN_ACTIVATIONS,
    LeanStep,
    read_positions,
    runs_lean,
    skipped_flops,
)
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.time.constants_file import known_constants
from rmtscale.costs.time.kernels import Attention, Matmul, Stream
from rmtscale.costs.time.lean_kernels import lean_kernels
from rmtscale.costs.time.step_kernels import step_kernels
from rmtscale.costs.time.step_time import step_time
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
from transformers.activations import ACT2FN

from rmtscale.rmt import lean_gpt2
from tests.costs import oracle_memory as oracle
from tests.costs.oracle_kernels import Kernels
from tests.costs.time.test_time_kernels import listed, noted

H200 = find_device("h200")
SHAPES = [
    (precision, batch, layers, memory)
    for precision in ("bf16", "fp32")
    for batch, layers, memory in ((1, 3, 2), (2, 2, 3), (1, 1, 0))
]


def shaped(
    precision: str, batch: int, layers: int, memory: int
) -> tuple[ModelSpec, Workload, Recurrence]:
    preset = oracle.shrink(PRESETS["gpt2"], layers)
    spec = replace(preset, vocabulary=1000, positions=256, position_rows=256)
    return spec, Workload(tokens=250, batch_size=batch, precision=precision), Recurrence(64, memory)


def gelu_inside(rows: Any, weight: Any, bias: Any) -> Any:
    return torch._addmm_activation(bias, rows, weight, use_gelu=True)


@contextmanager
def segment(
    spec: ModelSpec, work: Workload, design: Recurrence, *modes: Any
) -> Iterator[Callable[[], Any]]:
    """One full segment of the real step, with the products that a GPU has."""
    product = gelu_inside if work.precision == "bf16" else lean_gpt2.product_with_gelu
    with (
        oracle.as_on_the_gpu(), torch.device("meta"), torch.no_grad(), ExitStack() as entered,
        patch.object(lean_gpt2, "product_with_gelu", product),
    ):  # fmt: skip
        for mode in modes:
            entered.enter_context(mode)
        model: Any = oracle.build(spec, replace(work, tokens=design.segment_size))
        model = oracle.wrap(model, work, design)
        with patch.object(torch, "is_autocast_enabled", lambda _: False):  # ``meta`` knows none
            assert lean_gpt2.is_plain_gpt2(model)
        step = lean_gpt2.LeanGPT2(model, 1)
        state = model.initial_state(work.batch_size).clone()
        kept = torch.zeros(work.batch_size, 1, spec.width, dtype=state.dtype)
        ids = torch.zeros(work.batch_size, design.segment_tokens(spec), dtype=torch.long)

        def run() -> None:
            new_BME, kept_BKE = step(state, ids)
            state.copy_(new_BME)
            kept.copy_(kept_BKE)

        yield run


@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_are_those_of_the_real_step(shape: tuple[Any, ...]) -> None:
    """All matmuls and attentions as integers, everything that streams by count and bytes."""
    spec, work, design = shaped(*shape)
    kernels = Kernels()
    with segment(spec, work, design, kernels) as run:
        kernels.found.clear()
        run()
    exact, count, moved = noted(kernels.found)
    made = lean_kernels(spec, work, design, compiled=False)
    ours, our_count, our_bytes = listed([_Part("forward", made, 1)])
    assert ours == exact
    # ``masked_fill`` copies its input before it fills: one operator, two kernels.
    scores = 4 * work.batch_size * spec.heads * read_positions(design) * design.segment_size
    assert our_count == count + 1
    # Not counted: weights of norms, and the mean and spread that they return.
    assert our_bytes == pytest.approx(moved + 2 * scores, rel=0.02)


class _Part:
    def __init__(self, phase: str, kernels: Any, times: int) -> None:
        self.phase, self.kernels, self.times = phase, kernels, times


def test_compiled_norms_and_biases_are_one_kernel() -> None:
    spec, work, design = shaped("bf16", 1, 3, 2)
    plain = lean_kernels(spec, work, design, compiled=False).kernels
    compiled = lean_kernels(spec, work, design, compiled=True).kernels

    def library(kernels: tuple[Any, ...]) -> list[Any]:
        return [one for one in kernels if isinstance(one, Matmul | Attention)]

    assert library(plain) == library(compiled)
    norms = 2 * spec.layers + 1
    # A kernel less for each norm but the first; of the entrance one of three, of the last
    # attention three of eight are left: its scaled query and its keys, and its scores.
    streams = sum(isinstance(one, Stream) for one in plain) - (norms - 1) - 1 - (2 + 5)
    assert sum(isinstance(one, Stream) for one in compiled) == streams


@pytest.mark.parametrize("shape", SHAPES)
def test_memory_is_that_of_the_real_step(shape: tuple[Any, ...]) -> None:
    spec, work, design = shaped(*shape)
    live = oracle.LiveBytes()
    with segment(spec, work, design, live) as run:
        before = live.live
        live.restart()
        run()
    inside, _ = LeanStep(spec, work, 0, design).forward()
    assert inside.work == pytest.approx(live.peak - before, rel=0.04), live.at_peak


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_skipped_is_not_launched(shape: tuple[Any, ...]) -> None:
    """Beside the same blocks run whole; the biases' product is no work of the model."""
    spec, work, design = shaped(*shape)
    kernels = Kernels()
    with segment(spec, work, design, kernels) as run:
        kernels.found.clear()
        run()
    done = 0
    for (_, name, *sizes), times in noted(kernels.found)[0].items():
        if name == "matmul":
            batch, rows, columns, inner, _ = sizes
            done += times * 2 * batch * rows * columns * inner
        else:
            _, heads, size, width, _ = sizes
            done += times * 4 * heads * size * size * width
    biases = 2 * (2 * spec.layers) ** 2 * spec.width
    whole = estimate_flops(spec, work.of_length(design.segment_tokens(spec)), design, "matmul")
    head = whole.by_name()["forward.head"]
    skipped = work.batch_size * skipped_flops(spec, design, design.segment_size)
    assert done == whole.total - head - skipped + biases


def test_what_is_lean_is_what_the_rmt_takes_for_plain() -> None:
    design, work = Recurrence(64, 2), Workload(tokens=250)
    gpt2 = PRESETS["gpt2"]
    assert runs_lean(gpt2, work, design)
    assert runs_lean(gpt2, replace(work, precision="fp32"), design)
    for other in ({"precision": "fp16"}, {"precision": "amp-bf16"}, {"attention": "eager"},
                  {"mode": "train", "dropout": False}):  # fmt: skip
        assert not runs_lean(gpt2, replace(work, **other), design)
    assert not runs_lean(gpt2, work, None)
    for name in ("opt-125m", "gpt-neo-125m", "pythia-70m", "llama-3.2-1b", "bert-base-cased"):
        assert not runs_lean(PRESETS[name], work, design)
    for name in ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu", "relu", "silu"):
        plain = isinstance(ACT2FN[name], lean_gpt2.GELUS)
        assert plain == (name in LEAN_ACTIVATIONS)
        assert runs_lean(replace(gpt2, activation=name), work, design) == plain


def test_a_step_has_them_for_its_full_segments() -> None:
    model, work, design = PRESETS["gpt2"], Workload(tokens=4000), Recurrence(1000, 2)
    parts = step_kernels(model, work, design, cuda_graph=True)
    (full,) = (one for one in parts if one.captured)
    assert full.kernels is lean_kernels(model, work.any_length(), design, compiled=False)
    assert full.times == 4
    for other in (replace(work, precision="fp16"), replace(work, attention="eager")):
        parts = step_kernels(model, other, design, cuda_graph=True)
        assert Counter(one.captured for one in parts)[True] == 2


def test_a_shorter_segment_may_come_again() -> None:
    """The first time it is the host's, later it is captured: an interval holds both."""
    model, constants = PRESETS["gpt2"], known_constants(H200)
    short, even = (
        step_time(model, Workload(tokens=n), constants, Recurrence(1000, 2), cuda_graph=True)
        for n in (2 * 996 + 16, 2 * 996)
    )
    assert even.seconds < short.least_seconds < short.seconds - 0.5 * short.host_seconds
    assert graph_streams(model, Workload(tokens=2 * 996 + 16), Recurrence(1000, 2)) == 3
    assert graph_streams(model, Workload(tokens=2 * 996), Recurrence(1000, 2)) == 2


def test_memory_has_a_workspace_for_each_stream() -> None:
    model, work, design = PRESETS["gpt2"], Workload(tokens=4000), Recurrence(1000, 2)
    captured = estimate_memory(model, work, design, H200)
    eager = estimate_memory(model, work, design, H200, cuda_graph=False)
    name = "persistent.library_workspace"
    workspace = H200.library_workspace_bytes
    assert captured.by_name()[name] == 4 * workspace
    assert eager.by_name()[name] == workspace
    assert captured.total - 3 * workspace < eager.total
