"""Points that several processes share: what a step sends and holds, beside the prediction."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.profiler import spawn, together
from rmtscale.profiler.collectives import CollectiveCounter
from rmtscale.profiler.definition import make_sweep
from rmtscale.profiler.prediction import predict
from rmtscale.profiler.ranks import Place, Ranks
from rmtscale.profiler.subject import Subject
from rmtscale.profiler.together import measure_in_children, merged
from rmtscale.records.environment import host_environment
from rmtscale.records.measurement import Measurement, Memory, Samples, Sent
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol
from rmtscale.records.store import RecordStore
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.layout import parse_layout
from tests.command_line import Command
from tests.costs.layouts.oracle_sharded import world
from tests.forked import Started
from tests.rmt.test_rmt_sharded import Alive

SMALL = {
    "gpt2": replace(PRESETS["gpt2"], layers=3, width=48, heads=6, kv_heads=6, head_width=8,
                    mlp_width=192, vocabulary=101, embedding_width=48, positions=64,
                    position_rows=64),
    "llama": replace(PRESETS["llama-3.2-1b"], layers=3, width=64, heads=8, kv_heads=4, head_width=8,
                     mlp_width=160, vocabulary=96, embedding_width=64, rotary_width=8),
}  # fmt: skip
WIDE = replace(
    PRESETS["llama-3.2-1b"], layers=4, width=128, heads=8, kv_heads=4, head_width=16, mlp_width=384,
    vocabulary=1024, embedding_width=128, rotary_width=16,
)  # fmt: skip
GRID = {
    "model": "pythia-14m",
    "tokens": 512,
    "mode": "train",
    "dropout": False,
    "batch_size": 2,
    "device": "cpu",
}
"""One point of a sweep, less its layout."""
THOROUGH = "RMTSCALE_THOROUGH" in os.environ
LAYOUTS = ("dp2-zero3", "dp2-zero3-full", "tp2-wholevocab", "tp2-wholevocab-full")
STATES = ("dp2-zero3-states", "tp2-wholevocab-states")


def shared_point(model: str, layout: str, **more: Any) -> Point:
    """A training step of two processes on the CPU."""
    found = parse_layout(layout)
    base: dict[str, Any] = {
        "model": SMALL[model],
        "method": "full",
        "tokens": 48,
        "batch_size": 2,
        "mode": "train",
        "precision": "fp32",
        "optimizer": "adamw",
        "layout": replace(found, micro_batch=2 // found.dp),
        "device": "cpu",
    }
    if more.get("method") == "rmt":
        base |= {"segment_size": 20, "memory_tokens": 2}
    return Point(**{**base, **more})


def points() -> list[Point]:
    """A few in every run, all of them on demand."""
    every = [
        shared_point(model, layout, method=method)
        for model in SMALL
        for method in ("full", "rmt")
        for layout in (*LAYOUTS, *(STATES if method == "rmt" else ()))
        if model != "gpt2" or "tp" not in layout
    ]
    few = {
        ("gpt2", "rmt", "dp2-zero3"),
        ("llama", "full", "tp2-mb2-full-wholevocab"),
        ("llama", "rmt", "dp2-zero3-states"),
        ("llama", "rmt", "tp2-mb2-states-wholevocab"),
    }
    chosen = [one for one in every if (one.model.kind, one.method, name_of(one)) in few]
    assert len(chosen) == len(few)
    return every if THOROUGH else chosen


def name_of(point: Point) -> str:
    assert point.layout is not None
    return point.layout.name


def subject_of(point: Point) -> Subject:
    """The subject on the first of two processes, of which the other is not there."""
    ranks = Ranks(None, "cpu")
    ranks.place = Place(rank=0, size=2)
    return Subject(point, ranks)


@pytest.mark.parametrize("point", points(), ids=lambda p: f"{p.model.kind}-{p.method}-{name_of(p)}")
def test_what_a_step_sends_is_what_was_predicted(point: Point) -> None:
    with warnings.catch_warnings(), world(2):
        warnings.simplefilter("ignore")
        subject = subject_of(point)
        with CollectiveCounter() as counter:
            subject.step()
    predicted = predict(point).layout
    assert predicted is not None
    assert by_kind(counter.sent()) == by_kind(predicted.sent)


def by_kind(sent: tuple[Sent, ...]) -> dict[str, tuple[int, int, int]]:
    return {one.kind: (one.calls, one.elements, one.sent_bytes) for one in sent}


@pytest.mark.parametrize(("layout", "method"), [("dp2-zero3", "rmt"), ("tp2-wholevocab", "full")])
def test_the_peak_is_what_was_predicted(layout: str, method: str) -> None:
    point = shared_point(
        "llama", layout, method=method, precision="master-bf16", optimizer="adamw-fused"
    )
    check_predicted_peak(replace(point, model=replace(WIDE, tied_head=False), tokens=192))


def check_predicted_peak(point: Point) -> None:
    """The second step of two ranks holds at most what is predicted, within 5 %."""
    with warnings.catch_warnings(), world(2):
        warnings.simplefilter("ignore")
        subject = subject_of(point)
        subject.step()
        alive = Alive()
        for tensor in kept_by(subject):
            alive.track(tensor)
        with alive:
            subject.step()
    assert predict(point).peak_bytes == pytest.approx(alive.peak, rel=0.05)


def kept_by(subject: Any) -> list[Any]:
    """Weights, their copies and the moments: what is there before a step."""
    stepped = subject.optimizer.optimizer
    states = [one for state in stepped.state.values() for one in state.values()]
    copies = [one for group in stepped.param_groups for one in group["params"]]
    return [*subject.model.parameters(), *copies, *states, subject.ids_BN]


def test_answers_of_all_processes_become_one() -> None:
    def answer(seconds: tuple[float, ...], peak: int, **more: Any) -> Measurement:
        memory = Memory(peak_allocated_bytes=peak)
        found: dict[str, Any] = {"outcome": "ok", "memory": memory, "energy_joules": 2.0}
        clock = Samples.of(seconds)
        return Measurement(
            **{**found, **more}, event_time=clock, wall_time=clock, environment=host_environment()
        )

    both = [answer((1.0, 5.0, 3.0), 7), answer((2.0, 4.0, 3.5), 9)]
    one = merged(both, set())
    assert one.event_time is not None
    assert one.event_time.seconds == (2.0, 5.0, 3.5)
    assert one.memory == both[1].memory
    assert one.energy_joules == 4.0
    assert [part.memory for part in one.ranks] == [both[0].memory, both[1].memory]
    # The one that was ended because the other had failed is not the failure.
    bad = [answer((1.0,), 7, outcome="crashed"), answer((1.0,), 9, outcome="oom", error="no room")]
    failed = merged(bad, {0})
    assert (failed.outcome, failed.error, failed.ranks) == ("oom", "rank 1: no room", ())


def test_a_failed_process_ends_the_others_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "GRACE_SECONDS", 0.2)
    code = """
import json, os, sys, time
from rmtscale.processes import follow_parent
follow_parent()
request = json.load(sys.stdin)
if request["place"]["rank"]:
    sys.exit("no such thing")
time.sleep(60)
"""
    begun = monotonic()
    point = shared_point("gpt2", "dp2")
    found = measure_in_children(point, Protocol(), command=[sys.executable, "-c", code])
    assert (found.outcome, monotonic() - begun < 30) == ("crashed", True)
    assert found.error == "rank 1: ended with exit code 1 and no answer: no such thing"


def test_two_processes_measure_one_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "start", Started)
    point = shared_point("gpt2", "dp2", method="rmt")
    stages: list[str] = []
    found = measure_in_children(point, Protocol(warmup_steps=1, repeats=3), report=stages.append)
    assert found.outcome == "ok", found.error
    assert stages == ["start", "build", "warm-up", "memory", "timing", "ceiling"]
    predicted = predict(point).layout
    assert predicted is not None
    assert [by_kind(part.sent) for part in found.ranks] == [by_kind(predicted.sent)] * 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shard": "zero"}, "shard 'zero': expected one of none, ddp, fsdp2"),
        ({"shard": "fsdp2", "tp": 3}, "tp 3: expected a divisor of the 2 processes"),
        ({"tp": 1, "shard": "ddp", "batch_size": 3}, "batch size 3: expected a multiple of 2"),
        ({"state_by_state": True}, "state by state: expected a shard with it, ddp or fsdp2"),
        ({"shard": "ddp", "optimizer": "muon"}, "optimizer 'muon': expected"),
        ({"shard": "ddp", "precision": "amp-bf16"}, "precision 'amp-bf16': expected"),
        ({"shard": "ddp", "mode": "forward"}, "layout 'dp2': expected train and a decoder"),
        ({"tp": 2, "model": "gpt2"}, "tp 2, expected 1: the matrices of gpt2 are fused"),
        ({"tp": 2, "model": "gpt2-xl"}, "tp 2, expected a divisor of the 25 heads of gpt2-xl"),
    ],
)
def test_a_layout_that_cannot_be_is_one_line(values: dict[str, Any], message: str) -> None:
    check_refused(values, message, processes=2)


def check_refused(values: dict[str, Any], message: str, processes: int) -> None:
    """A sweep with these values is refused in one line."""
    with pytest.raises(BadInput) as refused:
        make_sweep({"grid": [{**GRID, **values}]}, processes=processes)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_layout_needs_torchrun(rmtscale: Command) -> None:
    done = rmtscale(
        *"profile -m pythia-14m --tokens 512 --mode train --shard ddp --dry-run".split()
    )
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: shard 'ddp': expected 2 processes or more, started by torchrun "
        "(--nproc_per_node 2)\n"
    )


@pytest.mark.skipif(not THOROUGH, reason="loads the libraries five times")
def test_the_first_process_measures_with_all(tmp_path: Path) -> None:
    """Two processes under torchrun: one record, of both, by the first; what is sent is counted."""
    out = tmp_path / "records.jsonl"
    config = tmp_path / "small.json"
    sizes = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 64, "n_positions": 64}
    config.write_text(json.dumps({"model_type": "gpt2", **sizes}))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    asked = (
        f"profile -m {config} --methods rmt --segment-size 20 --memory-tokens 2 --tokens 48 --mode "
        "train --no-dropout --batch-size 2 --precision master-bf16 --shard ddp --device cpu "
        f"--repeats 3 --out {out} --format json"
    )
    done = subprocess.run(
        [*launch, "-m", "rmtscale", *asked.split()],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(done.stdout)["rows"]
    records = RecordStore(out).read().records
    assert len(rows) == len(records) == 2  # the A/A pair
    for record in records:
        measured, predicted = record.measured, record.predicted.layout
        assert measured.outcome == "ok", measured.error
        assert [part.rank for part in measured.ranks] == [0, 1]
        assert predicted is not None
        for part in measured.ranks:
            assert by_kind(part.sent) == by_kind(predicted.sent)
        assert measured.wall_time is not None
        assert all(
            longest >= own
            for part in measured.ranks
            if part.wall_time
            for longest, own in zip(measured.wall_time.seconds, part.wall_time.seconds, strict=True)
        )
    assert rows[0]["layout"] == "dp2"
    assert rows[0]["sent_bytes"] == rows[0]["predicted_sent_bytes"] > 0
