"""``--method`` of flops, memory and plan: another method where RMT stood."""

from __future__ import annotations

import json

import pytest

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.method_estimates import estimate_method
from rmtscale.costs.methods.catalog import METHODS
from rmtscale.errors import BadInput
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.recurrence import Recurrence
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
    assert "sliding-window needs fewer FLOPs (matmul)" in done.out
    assert "1,657,309" in done.out.split("Prefill")[0]
    assert "checkpoint" not in done.out


@pytest.mark.parametrize("command", ["flops", "memory"])
def test_segments_of_a_method_without_any_are_refused(rmtscale: Command, command: str) -> None:
    ask = (command, "--model", "gpt2", "--tokens", "1k", "--segment-size", "64", "--method")
    done = rmtscale(*ask, "mamba")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "expected only with methods rmt and armt, not mamba" in done.err
    assert rmtscale(*ask, "armt").code == 0


@pytest.mark.parametrize(
    "line",
    [
        "flops --tokens 512",
        "flops --tokens 512 --convention all",
        "memory --tokens 512 -d h200",
        "compare --tokens 512",
        "plan -d h200",
        "estimate --tokens 512 -d h200",
        "generate-cost --context 512 --new-tokens 4 -d h200",
    ],
)
def test_a_model_with_an_encoder_of_its_own_has_no_rmt_anywhere(
    rmtscale: Command, line: str
) -> None:
    """One rule says so; full attention stands alone, and the reason beside it."""
    name, *options = line.split()
    rows = json.loads(rmtscale(name, "-m", "t5-small", *options, "--format", "json").out)["rows"]
    assert {row["method"] for row in rows} == {"full"}
    done = rmtscale(name, "-m", "t5-small", *options)
    assert done.code == 0
    assert "RMT" not in done.out.replace("No RMT", "").replace("no RMT", "")
    if name != "compare":  # which is of several methods, of which there is one
        assert "reads with an encoder of its own" in " ".join(done.out.split())


def test_an_rmt_of_such_a_model_is_refused() -> None:
    model, work = resolve_model("t5-small"), Workload(tokens=512)
    for estimate in (
        lambda: estimate_flops(model, work, Recurrence(), "matmul"),
        lambda: estimate_memory(model, work, Recurrence()),
        lambda: estimate_method(model, 512, "rmt"),
    ):
        with pytest.raises(BadInput, match="reads with an encoder of its own"):
            estimate()
