"""``--method`` of flops, memory and plan: another method where RMT stood."""

from __future__ import annotations

import json

import pytest

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.methods.catalog import METHODS
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.workload import Workload
from tests.command_line import Command

OPT = PRESETS["opt-1.3b"]


@pytest.mark.parametrize("method", ["full", "mamba", "sliding-window", "transformer-xl"])
def test_flops(rmtscale: Command, method: str) -> None:
    line = f"flops -m opt-1.3b --method {method} --tokens 512,32k --mode train"
    rows = json.loads(rmtscale(*line.split(), "--format", "json").out)["rows"]
    assert [row["method"] for row in rows] == ["full", method] * 2 or method == "full"
    for row in rows:
        work = Workload(tokens=row["tokens"], mode="train")
        design = METHODS[row["method"]]
        assert row["convention"] == "matmul"
        assert row["segments"] is None
        assert row["flops"] == estimate_flops(OPT, work, design, "matmul").total
    done = rmtscale(*line.split(), "--breakdown")
    assert done.code == 0
    assert all(len(text) <= 80 for text in done.out.splitlines())
    assert METHODS[method].title in " ".join(done.out.split())


def test_memory(rmtscale: Command) -> None:
    line = "memory -m opt-1.3b --method mamba --tokens 8k --dtype bf16"
    rows = json.loads(rmtscale(*line.split(), "--format", "json").out)["rows"]
    work = Workload(tokens=8000, precision="bf16", logits="last")
    peak = estimate_memory(OPT, work, METHODS["mamba"])
    assert rows[1]["peak_bytes"] == peak.total
    assert "Mamba: expand 2, state size 16" in rmtscale(*line.split()).out


def test_plan(rmtscale: Command) -> None:
    line = "plan -m opt-1.3b -d h100-sxm --method sliding-window --dtype bf16"
    rows = json.loads(rmtscale(*line.split(), "--format", "json").out)["rows"]
    assert {row["method"] for row in rows} == {"sliding-window"}
    assert {row["segment_size"] for row in rows} == {None}
    assert rows[0]["fewer_flops_tokens"] == 4097
    done = rmtscale(*line.split())
    assert all(len(text) <= 80 for text in done.out.splitlines())
    assert "sliding-window needs fewer FLOPs (matmul) from" in done.out
    assert "checkpoint" not in done.out


@pytest.mark.parametrize("command", ["flops", "memory"])
def test_segments_of_a_method_without_any_are_refused(rmtscale: Command, command: str) -> None:
    ask = (command, "--model", "gpt2", "--tokens", "1k", "--segment-size", "64", "--method")
    done = rmtscale(*ask, "mamba")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "expected only with methods rmt and armt, not mamba" in done.err
    assert rmtscale(*ask, "armt").code == 0
