"""Commands agree on what can be asked, of which models, and on what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rmtscale as package
from rmtscale.costs.design import why_no_rmt
from rmtscale.costs.time_range import step_seconds
from rmtscale.report.calibration import read_calibration
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.huggingface import resolve_model
from tests.command_line import Command

CONSTANTS = Path(package.__file__).parent / "costs" / "time" / "gpus" / "h200.json"


@pytest.mark.parametrize(
    ("model", "segments"),
    [("gpt2", True), ("mamba2-130m", True), ("t5-small", False)],
)
def test_every_command_has_an_rmt_of_the_same_models(
    rmtscale: Command, model: str, segments: bool
) -> None:
    """One rule: around a model that reads with an encoder of its own there is none."""
    asked = ("-m", model, "-d", "l4", "-f", "json")
    lines = (
        ("estimate", *asked, "--tokens", "2k", "--mode", "prefill", "--segment-size", "512"),
        ("plan", *asked, "--mode", "forward"),
        ("generate-cost", *asked, "--context", "2k", "--new-tokens", "2"),
    )
    assert (why_no_rmt(resolve_model(model)) == "") == segments
    for line in lines:
        done = rmtscale(*line)
        assert done.code == 0, done.err
        methods = {row["method"] for row in json.loads(done.out)["rows"]}
        assert ("rmt" in methods) == segments, line


PLAN, ESTIMATE = ("plan", "--mode", "train"), ("estimate", "--tokens", "2k", "--mode", "train")


@pytest.mark.parametrize("command", [PLAN, ESTIMATE], ids=["plan", "estimate"])
def test_what_a_training_takes_is_asked_for_alike(
    rmtscale: Command, command: tuple[str, ...]
) -> None:
    """Micro-batches, adapters and an optimizer on the host, as ``memory`` takes them."""
    shared = ("-m", "pythia-70m", "-d", "t4", "--precision", "fp16", "--segment-size", "512")
    options: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
        (("--accumulate", "2"), {"accumulate": 2}),
        (("--adapter", "lora", "--adapter-rank", "4"), {"adapter": Adapter("lora", 4)}),
        (
            ("--offload-optimizer", "--host-memory", "64GiB"),
            {"offload_optimizer": True, "host_memory_bytes": 2**36},
        ),
    )
    for given, settings in options:
        done = rmtscale(*command, *shared, *given, "-f", "json")
        assert done.code == 0, done.err
        (row, *_) = json.loads(done.out)["rows"]
        work = {"mode": "train", "precision": "fp16", "device": "t4", **settings}
        if command == ESTIMATE:
            found = package.estimate_memory("pythia-70m", "2k", **work)
            assert row["peak_bytes"] == found.total
            continue
        plan = package.make_plan("pythia-70m", 1, 512, convention="matmul", **work)
        assert row["full_longest_tokens"] == plan.full_longest_tokens
    # Beside a training the other modes have none.
    every = ("plan", *shared) if command == PLAN else (*command, *shared)
    assert "2 micro-batches" in rmtscale(*every, "--accumulate", "2").out
    forward = ("plan", "--mode", "prefill") if command == PLAN else ("estimate", "--tokens", "9")
    refused = rmtscale(*forward, *shared, "--accumulate", "2")
    assert refused.code == 2
    assert refused.err.splitlines()[-1].startswith(
        "error: --accumulate 2: expected with --mode train"
    )


def test_micro_batches_are_so_many_steps_of_flops(rmtscale: Command) -> None:
    asked = ("flops", "-m", "pythia-70m", "--tokens", "1k", "--mode", "train", "-f", "json")
    once, thrice = (
        json.loads(rmtscale(*asked, *more).out)["rows"] for more in ((), ("--accumulate", "3"))
    )
    assert [row["flops"] for row in thrice] == [3 * row["flops"] for row in once]


def test_constants_are_taken_where_kernels_are_known(rmtscale: Command) -> None:
    shared = ("-d", "h200", "--calibration", str(CONSTANTS))
    writing = rmtscale("estimate", "-m", "gpt2", "--tokens", "9", "--mode", "generate", *shared)
    assert writing.code == 2
    read = package.estimate("gpt2", "h200", "4k", calibration=read_calibration(CONSTANTS))
    step = step_seconds(
        PRESETS["gpt2"],
        read.question.work,
        read.question.device,
        None,
        read.question.calibration,
    )
    assert read.full.time == step
