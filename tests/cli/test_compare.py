"""``rmtscale compare`` as somebody who types it sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rmtscale.costs.method_estimates import estimate_method
from rmtscale.costs.methods.rmt import Rmt
from rmtscale.specs.catalog import PRESETS
from tests.command_line import Command


def test_the_issue_example(rmtscale: Command) -> None:
    line = "compare --model opt-1.3b --methods full,rmt,sliding-window,mamba --tokens 512..2M"
    done = rmtscale(*line.split())
    assert (done.code, done.err) == (0, "")
    assert all(len(text) <= 80 for text in done.out.splitlines())
    words = " ".join(done.out.split())
    assert "rmt full 1,137 513" in words
    assert "rmt mamba 110 never" in words
    assert "At 2,000,000 tokens rmt needs the fewest FLOPs" in words
    assert "mamba linear constant no 1,048,576" in words


@pytest.mark.parametrize("model", ["gpt2", "bert-base-cased", "llama-3-70b"])
def test_all_methods_fit_80_columns(rmtscale: Command, model: str) -> None:
    done = rmtscale("compare", "-m", model, "--methods", "all")
    assert done.code == 0
    assert all(len(text) <= 80 for text in done.out.splitlines())


def test_json(rmtscale: Command) -> None:
    line = "compare -m gpt2 --methods rmt,s4 --tokens 512..4k --segment-size 128 --dtype fp32"
    rows = json.loads(rmtscale(*line.split(), "--format", "json").out)["rows"]
    assert [row["tokens"] for row in rows] == [512, 1024, 2048, 4000] * 2
    for row in rows:
        method = Rmt(128) if row["method"] == "rmt" else "s4"
        estimate = estimate_method(PRESETS["gpt2"], row["tokens"], method, "fp32")
        assert row["flops"] == estimate.flops
        assert row["state_bytes"] == estimate.state_bytes


def test_out_is_written_once(rmtscale: Command, tmp_path: Path) -> None:
    line = ["compare", "-m", "gpt2", "--tokens", "1k,8k", "--out", str(tmp_path / "new")]
    assert rmtscale(*line).code == 0
    assert (tmp_path / "new" / "field.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    words = " ".join(page.split())
    assert "rmtscale compare --model gpt2 --methods full,rmt,sliding-window,mamba" in words
    assert "--tokens 1k,8k --segment-size 512 --memory-tokens 10 --precision bf16" in words
    again = rmtscale(*line)
    assert again.code == 2
    assert "exists already, expected --force" in again.err
    assert rmtscale(*line, "--force").code == 0


def test_an_encoder_has_methods_of_its_own(rmtscale: Command) -> None:
    done = rmtscale("compare", "--model", "bert-base-cased", "--tokens", "512,4k")
    assert (done.code, done.err) == (0, "")
    assert "longformer" in done.out
    assert "mamba" not in done.out
