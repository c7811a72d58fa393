"""How many GPUs would be enough: the first number on which the whole search finds a layout."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest

from rmtscale.costs.layouts.answer import answer_cluster
from rmtscale.costs.layouts.enough import MOST_TRIED, enough_gpus
from rmtscale.costs.layouts.search import fits_somehow, search_layouts
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.devices import find_device
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from tests.command_line import Command

A100 = find_device("a100-80gb")
RMT = Recurrence(512, 10)
MODELS = ("opt-6.7b", "llama-3-70b", "mixtral-8x7b", "qwen3-30b-a3b")
MOST = 16


def workloads() -> Iterator[tuple[str, Workload, Recurrence | None]]:
    """Draws of models, lengths, batches and modes, the same in each run."""
    draw = random.Random(5)
    for _ in range(24):
        mode: Literal["train", "forward"] = draw.choice(("train", "forward"))
        work = Workload(
            tokens=draw.choice((4096, 32_768, 2**18, 2**20)),
            batch_size=draw.choice((1, 2, 8)),
            mode=mode,
            precision="master-bf16" if mode == "train" else "bf16",
        )
        yield draw.choice(MODELS), work, draw.choice((None, RMT, Recurrence(500, 10)))


WORKLOADS = list(workloads())


@pytest.mark.parametrize(("name", "work", "recurrence"), WORKLOADS)
def test_it_is_the_first_on_which_the_search_finds_one(
    name: str, work: Workload, recurrence: Recurrence | None
) -> None:
    model, gpus = resolve_model(name), 1
    while gpus <= MOST:
        cluster = Cluster.of(A100, gpus)
        found = search_layouts(model, work, cluster, recurrence)
        assert fits_somehow(model, work, cluster, recurrence) == bool(found.found)
        if found.found:
            break
        gpus *= 2
    expected = gpus if gpus <= MOST else None
    for asked in (1, 6, 32):
        cluster = replace(Cluster.of(A100, 8), gpus=asked)
        assert enough_gpus(model, work, cluster, recurrence, MOST) == expected


def test_the_draws_hold_both_answers() -> None:
    """Without this all of the above would hold where everything fits on one GPU."""
    found = {
        enough_gpus(resolve_model(name), work, Cluster.of(A100, 8), recurrence, MOST)
        for name, work, recurrence in WORKLOADS
    }
    assert {None, 1} < found
    assert len(found) >= 5


def test_experts_need_the_least_in_ranks_of_their_own() -> None:
    """In one of these ZeRO-1 needs less than ZeRO-3, which gathers all experts of a layer."""
    model = resolve_model("mixtral-8x7b")
    train = Workload(tokens=4096, batch_size=8, mode="train", precision="master-bf16")
    for gpus, device in ((8, A100), (4, find_device("h200"))):
        cluster = Cluster.of(device, gpus)
        found = search_layouts(model, train, cluster)
        assert found.found
        assert fits_somehow(model, train, cluster)
        assert all(one.layout.ep > 1 for one in found.found if one.layout.dp > 1)


def test_nodes_of_another_size_are_filled() -> None:
    """Of nodes of six: 1, 2, 4, then 6, 12 and so on; 8 would leave four GPUs over."""
    model = resolve_model("opt-6.7b")
    work = Workload(tokens=32_768, batch_size=12, mode="train", precision="master-bf16")
    cluster = Cluster.of(find_device("l4"), 6, 6)
    enough = enough_gpus(model, work, cluster)
    assert enough is not None
    assert enough in (6, 12, 24, 48)
    assert search_layouts(model, work, replace(cluster, gpus=enough)).found
    fewer = [gpus for gpus in (1, 2, 4, 6, 12, 24) if gpus < enough]
    assert not any(search_layouts(model, work, replace(cluster, gpus=one)).found for one in fewer)


def words(name: str, gpus: int, layout: str = "auto", **fields: Any) -> str:
    work = Workload(**{"tokens": 32_000, "mode": "train", "precision": "master-bf16", **fields})
    answer = answer_cluster(resolve_model(name), work, Cluster.of(A100, gpus, gpus), RMT, layout)
    return answer.words


def test_the_words_say_it() -> None:
    few = words("llama-3-70b", 2)
    model = resolve_model("llama-3-70b")
    work = Workload(tokens=32_000, mode="train", precision="master-bf16")
    for title, recurrence in (("full attention", None), ("RMT 512", RMT)):
        enough = enough_gpus(model, work, Cluster.of(A100, 2), recurrence)
        assert enough is not None
        assert search_layouts(model, work, Cluster.of(A100, enough), recurrence).found
        assert not search_layouts(model, work, Cluster.of(A100, enough // 2), recurrence).found
        (said,) = (each for each in few.split(". ") if each.startswith(title))
        assert f"; by doublings, {enough} GPUs are the fewest on which one fits" in said


def test_none_is_said_with_the_bound() -> None:
    told = words("opt-175b", 8, tokens=900_000_000_000)
    assert f"; by doublings, none fits on up to {MOST_TRIED:,} GPUs." in told


def test_another_layout_than_the_one_that_is_named() -> None:
    told = words("opt-6.7b", 8, "dp8", batch_size=8)
    enough = enough_gpus(
        resolve_model("opt-6.7b"),
        Workload(tokens=32_000, batch_size=8, mode="train", precision="master-bf16"),
        Cluster.of(A100, 8),
    )
    assert enough is not None
    assert enough < 8
    assert "full attention: no layout fits" in told
    assert f"; another one fits, by doublings on as few as {enough} GPUs" in told


def test_gpus_that_divide_nothing() -> None:
    """More GPUs than layers and tokens, and a prime number of them."""
    told = words("opt-125m", 13, tokens=12)
    why = "no layout of these GPUs divides the model and the batch"
    assert f"full attention: {why}; another one fits, by doublings on as few as 1 GPU." in told


@pytest.mark.parametrize("line", ["estimate --tokens 32k", "plan"])
def test_both_commands_say_it(rmtscale: Command, line: str) -> None:
    done = rmtscale(*line.split(), *"-m llama-3-70b -d h100 --mode train --gpus 2".split())
    assert done.code == 0
    assert " ".join(done.out.split()).count("GPUs are the fewest on which one fits") == 2
