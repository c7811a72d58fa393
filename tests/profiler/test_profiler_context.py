"""Context parallelism of a measured step: what it sends, holds and finds, on two CPU processes.

Shape legend: B batch, N tokens.
"""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from rmtscale.profiler.collectives import CollectiveCounter
from rmtscale.profiler.definition import make_sweep
from rmtscale.profiler.prediction import predict
from rmtscale.profiler.ranks import Place, Ranks
from rmtscale.profiler.subject import Subject
from rmtscale.records.point import Point
from rmtscale.specs.catalog import PRESETS
from tests.costs.layouts.oracle_sharded import world
from tests.forked import as_ranks
from tests.profiler.beside_one import differentiate
from tests.profiler.test_profiler_layouts import (
    GRID,
    SMALL,
    THOROUGH,
    WIDE,
    by_kind,
    check_predicted_peak,
    check_refused,
    name_of,
    shared_point,
    subject_of,
)

NEOX = replace(
    PRESETS["pythia-160m"], layers=2, width=48, heads=6, kv_heads=6, head_width=8, mlp_width=96,
    vocabulary=101, embedding_width=48, rotary_width=4,
)  # fmt: skip
WAYS = ("torch", "torchring")


def context_point(model: str, layout: str, **more: Any) -> Point:
    point = shared_point("llama" if model == "gpt_neox" else model, layout)
    if model == "gpt_neox":
        more = {"model": NEOX, **more}
    return replace(point, **more)


SENT = [
    context_point(model, f"cp2-{way}{more}")
    for model in ("gpt2", "llama")
    for way in WAYS
    for more in ("-zero3", "-zero3-full")
    if THOROUGH or (model, more) in {("gpt2", "-zero3"), ("llama", "-zero3-full")}
]


@pytest.mark.parametrize("point", SENT, ids=lambda p: f"{p.model.kind}-{name_of(p)}")
def test_what_a_step_sends_is_what_was_predicted(point: Point) -> None:
    with warnings.catch_warnings(), world(2):
        warnings.simplefilter("ignore")
        subject = subject_of(point)
        with CollectiveCounter() as counter:
            subject.step()
    predicted = predict(point).layout
    assert predicted is not None
    assert by_kind(counter.sent()) == by_kind(predicted.sent)


@pytest.mark.parametrize("way", WAYS)
def test_the_peak_is_what_was_predicted(way: str) -> None:
    """Grouped heads, which are written out for torch's ring, and keys and values of both ranks."""
    point = context_point(
        "llama", f"cp2-{way}-zero3", precision="master-bf16", optimizer="adamw-fused"
    )
    check_predicted_peak(replace(point, model=replace(WIDE, tied_head=False), tokens=192))


def alone_and_together(points: list[Point], folder: Path) -> None:
    """On one rank of two: how far a step of each point is from that of whole sequences."""
    rank = int(os.environ["RANK"])
    ranks = Ranks(Place(rank=rank, size=2, store=str(folder / "store")), "cpu")
    apart = []
    for point in points:
        shared = Subject(point, ranks)
        alone = Subject(replace(point, layout=None))
        alone.ids_BN = alone.labels = shared.ids_BN.clone()
        ours, wanted = differentiate(shared), differentiate(alone)
        assert torch.equal(shared.ids_BN, alone.ids_BN), "whole again behind the step"
        mean = torch.tensor(ours.loss)
        dist.all_reduce(mean)
        far = {"loss": abs(mean.item() / 2 - wanted.loss)}
        for name, gradient in wanted.gradients.items():
            far[name] = float((ours.gradients.pop(name) - gradient).abs().max())
        assert ours.gradients == {}
        apart.append(far)
    (folder / f"rank-{rank}.json").write_text(json.dumps(apart))
    dist.barrier()
    os._exit(0)  # as in test_rmt_two_processes.py


def test_a_step_has_the_loss_and_the_gradients_of_one_process(tmp_path: Path) -> None:
    """Of Hugging Face's module with its own labels and positions, which knows of no cut."""
    points = [
        context_point("gpt2", "cp2-torch"),
        context_point("llama", "cp2-torchring"),
        context_point("gpt_neox", "cp2-torch"),
        context_point("llama", "cp2-torch-zero3-full"),
    ]
    as_ranks(2, tmp_path, alone_and_together, points, tmp_path)
    for rank in range(2):
        apart = json.loads((tmp_path / f"rank-{rank}.json").read_text())
        assert len(apart) == len(points)
        for point, far in zip(points, apart, strict=True):
            assert max(far.values()) < 1e-5, (point.title(), far)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cp": 3}, "cp 3: expected a divisor of the 2 processes"),
        ({"shard": "none"}, "cp 2: expected a shard with it, ddp or fsdp2, for 2 ranks that have"),
        ({"context": "ulysses"}, "context 'ulysses': expected one of ring, gather, alltoall,"),
        ({"context": "alltoall"}, "is alltoall, expected torch or torchring, torch's own"),
        ({"context": "ring"}, "layout 'cp2-ring-mb2': is ring, expected torch or torchring"),
        ({"method": "rmt"}, "expected full attention, an RMT's segments are read whole"),
        ({"attention": "eager"}, "expected sdpa and a model like gpt2, llama or gpt_neox"),
        ({"model": "opt-125m"}, "expected sdpa and a model like gpt2, llama or gpt_neox"),
        ({"tokens": 514}, "tokens 514: expected a multiple of 4, the pieces that"),
        ({"cp": 2, "tp": 2, "processes": 4}, "expected tp or cp, both together are not measured"),
    ],
)
def test_what_cannot_be_measured_is_one_line(values: dict[str, Any], message: str) -> None:
    own = {"method": "full", "shard": "ddp", "cp": 2, **values}
    processes = own.pop("processes", 2)
    check_refused(own, message, processes)


def test_a_layout_is_named_as_predictions_name_it() -> None:
    own = {"method": "full", "shard": ["ddp", "fsdp2"], "cp": 2, "context": ["torch", "torchring"]}
    grid = {**GRID, **own}
    names = [name_of(point) for point in make_sweep({"grid": [grid]}, processes=2).points]
    assert names[:4] == [
        "cp2-torch-mb2",
        "cp2-torchring-mb2",
        "cp2-torch-zero3-mb2",
        "cp2-torchring-zero3-mb2",
    ]
    four = make_sweep({"grid": [{**grid, "shard": "fsdp2"}]}, processes=4).points
    assert name_of(four[0]) == "cp2-torch-dp2-zero3"
    assert SMALL["llama"].kv_heads < SMALL["llama"].heads, "grouped heads are among the tests"
