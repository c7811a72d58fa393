"""Layouts that cannot be are refused in one line that says what could."""

from __future__ import annotations

import pytest

from rmtscale.costs.layouts.possible import require_possible, runs_in, why_impossible
from rmtscale.errors import BadInput
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.devices import DEVICES, find_device
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.layout import Layout, parse_layout
from rmtscale.specs.links import INTERCONNECTS, NODE_LINKS, find_interconnect, node_link
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

A100 = find_device("a100-80gb")
WORK = Workload(tokens=4096, batch_size=8, mode="train")
RMT = Recurrence(512, 10)


@pytest.mark.parametrize(
    ("model", "layout", "rmt", "reason"),
    [
        ("opt-175b", "tp5-dp8", False, "expected a divisor of the 96 heads"),
        ("llama-3.1-8b", "tp16", False, "expected a divisor of the 8 key and value heads"),
        ("gpt2", "pp16", False, "16 stages, expected at most the 12 layers"),
        ("gpt2", "pp4-vp2-dp1", False, "8 virtual stages, expected a divisor of 12 layers"),
        ("gpt2", "pp3-vp2", False, "expected a multiple of pp 3"),
        ("llama-3.1-8b", "tp4-cp4-alltoall", False, "the 2 key and value heads of a rank"),
        ("gpt2", "dp8-ep2", False, "expected 1, gpt2 has no experts"),
        ("gpt2", "dp16", False, "expected a divisor of the batch size 8"),
        ("gpt2", "dp8-states", False, "full attention has no state"),
        ("gpt2", "cp2-dp8", True, "expected 1 with an RMT"),
    ],
)
def test_refused_in_one_line(model: str, layout: str, rmt: bool, reason: str) -> None:
    with pytest.raises(BadInput, match=reason) as refused:
        require_possible(resolve_model(model), WORK, parse_layout(layout), RMT if rmt else None)
    assert "\n" not in str(refused.value)
    assert layout.split("-", maxsplit=1)[0] in str(refused.value)


def test_a_layout_has_the_gpus_of_the_cluster() -> None:
    cluster = Cluster.of(A100, 16)
    reason = why_impossible(PRESETS["gpt2"], WORK, Layout(dp=8), None, cluster)
    assert reason == "is of 8 GPUs, expected 16"
    assert not why_impossible(PRESETS["gpt2"], WORK, Layout(dp=8, pp=2), None, cluster)


@pytest.mark.parametrize(
    "name",
    ["tp8-sp-pp12-vp2-dp4-zero1-mb2-full", "cp4-gather-dp2-zero3", "dp64-zero3-states", "dp1",
     "tp8-wholevocab", "dp8-ep4-selective", "cp2-ring"],
)  # fmt: skip
def test_a_name_is_read_back(name: str) -> None:
    assert parse_layout(name).name == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tp8-xx", "'xx' is no word of it"),
        ("tp8-tp4", "says tp twice"),
        ("dp0", "dp"),
        ("zero4", "expected 0, 1, 2 or 3"),
        ("sp", "expected tp above 1"),
        ("vp2", "expected pp above 1"),
    ],
)
def test_a_name_that_is_none(name: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        parse_layout(name)


def test_what_no_framework_runs_is_known() -> None:
    assert runs_in(parse_layout("tp8-sp-pp8-dp2-zero1"), None) == ("Megatron-LM",)
    assert runs_in(parse_layout("tp8-sp-pp8-dp2-zero3"), None) == ("torchtitan",)
    assert "DeepSpeed" in runs_in(parse_layout("cp8-alltoall-zero3"), None)
    assert runs_in(parse_layout("cp8-torch-zero3"), None) == ("torchtitan",)
    assert runs_in(parse_layout("cp8-ring-zero3"), None) == ()
    assert runs_in(parse_layout("cp8-ring-zero1"), None) == ("Megatron-LM",)
    assert runs_in(parse_layout("cp8-torch-zero1"), None) == ()
    assert runs_in(parse_layout("dp8-zero3"), RMT) == ("rmtscale",)
    for runs in ("tp2-dp4-zero3", "tp2-dp4-zero3-states", "tp8-states", "dp8-states", "dp8-full"):
        assert runs_in(parse_layout(runs), RMT) == ("rmtscale",), runs
    for none in ("tp8-pp2", "tp2-dp4", "tp8-sp", "dp8-zero1", "dp8-selective"):
        assert runs_in(parse_layout(none), RMT) == (), none


def test_every_link_has_a_source_and_every_gpu_a_link() -> None:
    for link in (*NODE_LINKS.values(), *INTERCONNECTS.values()):
        assert link.bytes_per_second > 10**9
        assert link.latency_seconds > 0
        assert link.source
    assert {node_link(device).name for device in DEVICES.values()} <= set(NODE_LINKS)
    assert node_link(A100).bytes_per_second == 300 * 10**9
    assert find_interconnect("", A100).name == "ib-hdr"
    with pytest.raises(BadInput, match="interconnect 'token-ring': expected"):
        find_interconnect("token-ring", A100)


@pytest.mark.parametrize(("gpus", "each"), [(0, 8), (12, 8), (8, 0)])
def test_clusters_that_cannot_be(gpus: int, each: int) -> None:
    with pytest.raises(BadInput, match="gpus"):
        Cluster.of(A100, gpus, each)


def test_a_cluster_in_words() -> None:
    title = Cluster.of(A100, 64).title()
    assert title == "64 NVIDIA A100 80GB SXM4, 8 a node, nvlink3 and ib-hdr"
    assert Cluster.of(A100, 4).title().endswith("4 a node, nvlink3")
