"""On many GPUs the recommended segment is that of the best layouts, wherever it is asked for."""

from __future__ import annotations

import json

import pytest

from rmtscale.app.answers import Asked, reply
from rmtscale.cli.main import main
from rmtscale.costs.layouts.search import search_layouts
from rmtscale.costs.layouts.segment import recommend_cluster_segment
from rmtscale.costs.segment_choice import possible_segment_sizes
from rmtscale.errors import BadInput
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.devices import find_device
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

TRAIN = Workload(tokens=64_000, mode="train", precision="master-bf16")
READ = Workload(tokens=64_000, precision="bf16", cache=True)
H100 = find_device("h100")
ASKED = [
    ("llama-3-70b", TRAIN, 64),
    ("llama-3-70b", READ, 8),
    ("llama-3-8b", TRAIN, 8),
    ("opt-6.7b", TRAIN, 2),
    ("gpt2", READ, 4),
]


@pytest.mark.parametrize(("name", "work", "gpus"), ASKED)
def test_it_is_the_longest_whose_best_layout_is_about_the_fastest(
    name: str, work: Workload, gpus: int
) -> None:
    model, cluster = resolve_model(name), Cluster.of(H100, gpus)
    seconds = {}
    for size in possible_segment_sizes(model, 10):
        found = search_layouts(model, work, cluster, Recurrence(size, 10)).found
        if found:
            seconds[size] = min(one.time.seconds for one in found)
    good = [size for size, taken in seconds.items() if taken <= 1.1 * min(seconds.values())]
    chosen, reason = recommend_cluster_segment(model, work, cluster, 10)
    assert chosen == Recurrence(max(good), 10)
    assert "whose best layout takes at most 10 % more time" in reason


def test_where_one_gpu_holds_none_of_them_many_do_not_get_the_shortest() -> None:
    model = resolve_model("llama-3-70b")
    found = {}
    for size in (128, recommend_cluster_segment(model, TRAIN, Cluster.of(H100, 64), 10)[0]):
        design = size if isinstance(size, Recurrence) else Recurrence(size, 10)
        best = search_layouts(model, TRAIN, Cluster.of(H100, 64), design).best
        assert best is not None
        found[design.segment_size] = best.time.seconds
    assert found[128] > 10 * min(found.values())


def test_where_nothing_fits_it_needs_the_least_memory() -> None:
    model, cluster = resolve_model("opt-175b"), Cluster.of(H100, 8)
    chosen, reason = recommend_cluster_segment(model, TRAIN, cluster, 10)
    needed = {
        size: search_layouts(model, TRAIN, cluster, Recurrence(size, 10)).least_bytes
        for size in possible_segment_sizes(model, 10)
    }
    assert needed[chosen.segment_size] == min(needed.values())
    assert reason.startswith("none from 128 to 2048 fits in any layout")


def test_a_named_layout_is_the_one_that_is_asked() -> None:
    model, cluster = resolve_model("llama-3-8b"), Cluster.of(H100, 8)
    chosen, _ = recommend_cluster_segment(model, TRAIN, cluster, 10, "tp8-sp-full")
    seconds = {
        size: search_layouts(
            model, TRAIN, cluster, Recurrence(size, 10), "tp8-sp-full"
        ).found[0].time.seconds
        for size in possible_segment_sizes(model, 10)
    }  # fmt: skip
    good = [size for size, taken in seconds.items() if taken <= 1.1 * min(seconds.values())]
    assert chosen.segment_size == max(good)
    with pytest.raises(BadInput, match="is of 4 GPUs, expected 8"):
        recommend_cluster_segment(model, TRAIN, cluster, 10, "tp4")


@pytest.mark.parametrize("mode", ["train", "prefill"])
def test_every_way_to_ask_names_the_same_one(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--model=llama-3-70b", "--device=h100", "--gpus=16", f"--mode={mode}", "--tokens=64k"]
    asked += ["--precision=bf16"]
    said = set()
    for command in ("estimate", "plan"):
        with pytest.raises(SystemExit) as ended:
            main([command, *asked, "--segment-size=auto", "--format=json"])
        assert ended.value.code == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        said |= {row["segment_size"] for row in rows if row["method"] == "rmt"}
        with pytest.raises(SystemExit):
            main([command, *asked, "--segment-size=auto"])
        assert "Segment size: " in capsys.readouterr().out
    page = {"model": "llama-3-70b", "device": "h100", "gpus": "16", "tokens": "64k"}
    answer = reply(Asked.read(page | {"precision": "bf16", "mode": mode, "segment_size": "auto"}))
    rmt = answer["ways"][1]["title"]
    assert len(said) == 1
    assert f"RMT {said.pop()}" in rmt
    assert answer["notes"][0].startswith("Segment size: ")


def test_nothing_is_listed_where_nothing_fits(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main("estimate -m opt-175b -d h100 --gpus 8 --tokens 64k --mode train".split())
    told = capsys.readouterr().out
    assert told.count("no layout fits") == 2
    assert "memory of a GPU" not in told
