"""The search leaves out nothing that is better, drops what does not fit, and is quick."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import product

import pytest

from rmtscale.costs.layouts.answer import answer_cluster, ratio_range
from rmtscale.costs.layouts.memory import gpu_memory
from rmtscale.costs.layouts.possible import why_impossible
from rmtscale.costs.layouts.search import fits_somehow, search_layouts
from rmtscale.costs.layouts.seconds import step_time
from rmtscale.costs.layouts.serving import decode_seconds
from rmtscale.errors import BadInput
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.devices import find_device
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.layout import Layout
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import format_percent

A100 = find_device("a100-80gb")
OPT = resolve_model("opt-6.7b")
WORK = Workload(tokens=65_536, batch_size=4, mode="train", precision="master-bf16")
RMT = Recurrence(512, 10)


def test_nothing_better_is_left_out() -> None:
    """Every layout of eight GPUs, one by one, none faster than the one that was found."""
    cluster = Cluster.of(A100, 8)
    found = search_layouts(OPT, WORK, cluster)
    best = found.best
    assert best is not None
    sizes = (1, 2, 4, 8)
    for tp, pp, cp, zero, micro_batch, recompute, context in product(
        sizes,
        sizes,
        sizes,
        (1, 3),
        (1, 2, 4),
        ("none", "full"),
        ("ring", "gather", "alltoall", "torch"),
    ):
        if 8 % (tp * pp * cp):
            continue
        layout = Layout(
            tp=tp, pp=pp, cp=cp, dp=8 // (tp * pp * cp), zero=zero, micro_batch=micro_batch,
            recompute=recompute, context=context, sequence_parallel=tp > 1,
        )  # fmt: skip
        if why_impossible(OPT, WORK, layout, None, cluster):
            continue
        if gpu_memory(OPT, WORK, layout, None, A100).total <= A100.usable_memory_bytes:
            seconds = step_time(OPT, WORK, layout, cluster).seconds
            assert seconds >= best.time.seconds * (1 - 1e-9), layout.name


def test_what_is_found_fits_and_the_rest_is_counted() -> None:
    cluster = Cluster.of(A100, 8)
    for recurrence in (None, RMT):
        found = search_layouts(OPT, WORK, cluster, recurrence)
        assert all(one.memory.total <= A100.usable_memory_bytes for one in found.found)
        assert found.tried >= len(found.found) + sum(found.dropped.values())
        assert found.cheapest is not None
        assert found.cheapest.time.gpu_seconds_per_token == min(
            one.time.gpu_seconds_per_token for one in found.found
        )
        assert fits_somehow(OPT, WORK, cluster, recurrence)
    longer = replace(WORK, tokens=64_000_000)
    assert not fits_somehow(OPT, longer, cluster)
    assert not search_layouts(OPT, longer, cluster).found
    assert fits_somehow(OPT, longer, cluster, RMT)


def test_both_ways_in_words() -> None:
    model = resolve_model("opt-175b")
    work = replace(WORK, tokens=1_024_000, batch_size=1)
    many = answer_cluster(model, work, Cluster.of(A100, 1024), RMT).words
    assert many.startswith("Full attention is faster:")
    assert "RMT 512 may take more GPU-seconds a token or fewer" in many
    assert "a batch of 128 would keep all busy" in many
    few = answer_cluster(model, work, Cluster.of(A100, 8), RMT)
    assert few.words.count("no layout fits") == 2
    one_segment = replace(WORK, tokens=492)
    short = answer_cluster(OPT, one_segment, Cluster.of(A100, 8), RMT).words
    assert short.startswith("Which is faster cannot be told, their ranges overlap:")


def test_how_many_times_as_long_is_between_the_ends() -> None:
    work = replace(WORK, tokens=128_000, batch_size=1)
    nodes, design = Cluster.of(find_device("h100"), 64), Recurrence(2048, 10)
    answer = answer_cluster(resolve_model("llama-3-8b"), work, nodes, design)
    assert answer.full.cheapest is not None
    assert answer.rmt.cheapest is not None
    full, rmt = answer.full.cheapest.time, answer.rmt.cheapest.time
    least, most = ratio_range(rmt, full, rmt.gpus / full.gpus)
    assert least == pytest.approx(rmt.gpu_seconds_range[0] / full.gpu_seconds_range[1])
    assert most == pytest.approx(rmt.gpu_seconds_range[1] / full.gpu_seconds_range[0])
    assert least < rmt.gpu_seconds_per_token / full.gpu_seconds_per_token < most < 1
    said = " to ".join(format_percent(1 - end) for end in (most, least))
    assert f"saves {said} of the GPU-seconds a token" in answer.words


def test_a_state_in_every_layer_is_a_wave() -> None:
    model = resolve_model("opt-175b")
    work = replace(WORK, tokens=1_024_000, batch_size=1)
    cluster = Cluster.of(A100, 512)
    answer = answer_cluster(model, work, cluster, RMT)
    assert answer.wave is not None
    best, single = answer.wave.best, answer.rmt.best
    assert best is not None
    assert single is not None
    assert best.layout.pp > 1
    assert best.frameworks == ()
    alone = step_time(model, work, best.layout, cluster, RMT)
    wave = step_time(model, work, best.layout, cluster, RMT, every_layer=True)
    assert best.time == wave
    # Each segment waits for a whole round through the stages; a wave for the first one alone.
    assert alone.bubble > 100 * wave.bubble
    assert wave.seconds < single.time.seconds / 10
    assert f"as {best.layout.name}, and more by what its memories calculate" in answer.words
    wide = answer_cluster(model, replace(work, batch_size=64), Cluster.of(A100, 64), RMT)
    assert wide.wave is None


def test_a_thousand_layouts_a_second() -> None:
    model = resolve_model("opt-175b")
    work = replace(WORK, tokens=1_024_000, batch_size=1)
    begin = time.process_time()
    tried = sum(
        search_layouts(model, work, Cluster.of(A100, 1024), recurrence).tried
        for recurrence in (None, RMT)
    )
    seconds = time.process_time() - begin
    assert seconds < 1
    assert tried / seconds > 1000


def test_models_that_are_not_known_are_refused() -> None:
    cluster = Cluster.of(A100, 8)
    with pytest.raises(BadInput, match="known operator by operator"):
        search_layouts(resolve_model("mamba2-2.7b"), WORK, cluster)
    with pytest.raises(BadInput, match="is of 4 GPUs, expected 8"):
        search_layouts(OPT, WORK, cluster, None, "tp4")


def test_a_token_is_written_faster_by_more_ranks() -> None:
    cluster = Cluster.of(A100, 8)
    work = Workload(tokens=8192, cache=True, precision="bf16")
    one, two, eight = (decode_seconds(OPT, work, Layout(tp=tp), cluster) for tp in (1, 2, 8))
    weights = 6.66e9 * 2
    assert one == pytest.approx((weights + 8192 * 2 * 32 * 4096 * 2) / (0.875 * 2039e9), rel=0.02)
    assert eight < two < one
    # Two sums a layer: what a small collective takes is there whatever the ranks are.
    assert eight > 2 * 32 * 20e-6
    assert decode_seconds(OPT, work, Layout(pp=2), cluster) > one
