"""A rank's kernels: on one GPU those of a step, on several a share of the whole layer's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rmtscale.costs.layouts.pace import layer_seconds
from rmtscale.costs.layouts.rank_kernels import Cut, is_known, rank_layer
from rmtscale.costs.layouts.seconds import step_time
from rmtscale.costs.time.constants_file import known_constants
from rmtscale.costs.time.kernels import Attention, Matmul, moved_bytes
from rmtscale.costs.time.step_kernels import layer_lists, layer_shape
from rmtscale.costs.time.step_time import step_time as on_one
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.devices import find_device
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.layout import Layout
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

H200 = find_device("h200")
MEASURED = known_constants(H200)
LLAMA = PRESETS["llama-3.2-1b"]
TRAIN = Workload(tokens=4096, mode="train", precision="bf16", optimizer="adamw-fused")


@pytest.mark.parametrize(
    ("name", "precision", "tokens", "segment", "recompute"),
    [
        ("llama-3-8b", "bf16", 8192, 0, "none"),
        ("llama-3.2-1b", "amp-bf16", 16_000, 0, "none"),
        ("llama-3.2-1b", "bf16", 16_000, 0, "full"),
        ("opt-1.3b", "fp32", 4000, 0, "none"),
        ("gpt2-xl", "bf16", 4000, 0, "none"),
        ("pythia-6.9b", "bf16", 16_384, 4096, "none"),
    ],
)
def test_on_one_gpu_it_is_the_step_of_one_gpu(
    name: str, precision: str, tokens: int, segment: int, recompute: str
) -> None:
    model, recurrence = PRESETS[name], Recurrence(segment, 8) if segment else None
    work = replace(TRAIN, tokens=tokens, precision=precision)
    found = step_time(model, work, Layout(recompute=recompute), Cluster.of(H200, 1), recurrence)
    checked = replace(work, checkpoint_layers=recompute == "full")
    expected = on_one(model, checked, MEASURED, recurrence)
    assert expected.bound == "device"
    assert not found.host_bound
    assert found.seconds == pytest.approx(expected.seconds, rel=0.02)


def of_a_rank(tp: int, size: int) -> tuple[Any, Any]:
    shape = layer_shape(LLAMA, TRAIN, size)
    cut = replace(
        shape,
        heads=shape.heads // tp,
        kv_heads=shape.kv_heads // tp,
        inner=shape.inner // tp,
    )
    return layer_lists(LLAMA, cut, replace(TRAIN, tokens=1), size)[:2]


@pytest.mark.parametrize("tp", [2, 4, 8])
def test_ranks_have_equal_shares_of_all_products(tp: int) -> None:
    for whole, part in zip(of_a_rank(1, 4096), of_a_rank(tp, 4096), strict=True):
        for kind in (Matmul, Attention):
            counts = [
                sum(
                    one.flops if isinstance(one, Matmul) else one.heads * one.size**2
                    for one in kernels.kernels
                    if isinstance(one, kind)
                )
                for kernels in (whole, part)
            ]
            assert counts[0] == tp * counts[1] > 0
        # Norms and residuals are whole on every rank.
        assert moved_bytes(whole.kernels) / tp < moved_bytes(part.kernels)


def test_sequence_parallelism_cuts_norms_too() -> None:
    whole = rank_layer(LLAMA, TRAIN, MEASURED, Cut(1, 16_384))
    half, cut = (
        rank_layer(LLAMA, TRAIN, MEASURED, Cut(1, 16_384, 2, 1, flag)) for flag in (False, True)
    )
    assert cut.stream == pytest.approx(whole.stream / 2, rel=0.05)
    assert cut.stream < half.stream < whole.stream
    assert cut.matmul == half.matmul == pytest.approx(whole.matmul / 2, rel=0.1)


def test_positions_are_shared_and_keys_are_not() -> None:
    whole = rank_layer(LLAMA, TRAIN, MEASURED, Cut(1, 32_768))
    part = rank_layer(LLAMA, TRAIN, MEASURED, Cut(1, 32_768, 1, 4))
    assert part.attention == pytest.approx(whole.attention / 4)
    assert part.matmul == pytest.approx(whole.matmul / 4, rel=0.05)
    assert not is_known(PRESETS["gpt2"], replace(TRAIN, attention="eager"), Cut(1, 64, 1, 2))
    assert not is_known(resolve_model("qwen3-30b-a3b"), TRAIN, Cut(1, 64))


def test_from_a_data_sheet_it_is_not_asked() -> None:
    sheet = known_constants(find_device("a100-80gb"))
    assert layer_seconds(LLAMA, TRAIN, sheet, Cut(1, 4096)).forward.dense == 0
    assert layer_seconds(LLAMA, TRAIN, MEASURED, Cut(1, 4096)).forward.dense > 0


def test_a_slow_host_makes_the_range_wide() -> None:
    work = replace(TRAIN, tokens=16_384)
    found = step_time(
        PRESETS["gpt2"], work, Layout(), Cluster.of(H200, 1), Recurrence(512, 8), MEASURED
    )
    assert found.host_bound
    assert found.range.most_seconds / found.range.least_seconds > 2.5
