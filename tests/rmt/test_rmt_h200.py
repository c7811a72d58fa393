"""The script that measures the RMT: its arithmetic, and that it writes what it says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rmtscale.rmt import RMTConfig, RMTForCausalLM


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return importlib.import_module("tests.bench.rmt_h200")


def test_the_flops_it_divides_by_are_those_of_the_module(script: ModuleType) -> None:
    given = script.sizes(toy=True)
    with torch.device("meta"):
        backbone = script.gpt2(given, given["segment"])
    model = RMTForCausalLM(backbone, RMTConfig(given["segment"], script.MEMORY_TOKENS)).eval()
    ids = torch.zeros(1, given["long"], dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids, keep_logits="none")
    assert counter.get_total_flops() == script.inference_flops(given["long"], given)


def test_ratios_and_verdicts(script: ModuleType) -> None:
    rows: dict[str, dict[str, Any]] = {
        "train full sdpa": {"iteration_seconds": 2.0, "peak_allocated_bytes": 100},
        "train rmt": {"iteration_seconds": 1.0, "peak_allocated_bytes": 80},
        "infer short, captured and compiled": {"peak_allocated_bytes": 110, "ids_bytes": 10},
        "infer long, captured and compiled": {
            "peak_allocated_bytes": 301, "ids_bytes": 200, "flops_per_second": 3.0,
        },
        "ceiling inference dtype": {"flops_per_second": 6.0},
    }  # fmt: skip
    for row in rows.values():
        row["outcome"] = "ok"
    found = script.ratios(rows)
    assert found["train time, plain"] == 0.5
    assert found["train peak, plain"] == 0.8
    assert found["train time, checkpointed"] is None
    assert found["inference, share of matmul ceiling"] == 0.5
    assert found["inference, peak at the longest / shortest"] == 1.01
    text = script.table(rows, found, toy=False)
    assert "0.5000    <= 0.64  met" in text
    assert "0.8000     <= 0.7  NOT met" in text
    assert "not measured" in text


def test_a_point_that_fails_is_a_row_and_the_records_are_written(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "records.jsonl"
    assert script.main(["--toy", "--only", "ceiling fp32", "--out", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["ceiling", "ratios"]
    assert rows[0]["outcome"] == "ok"
    assert rows[0]["iteration_seconds"] > 0
    assert "ceiling fp32" in capsys.readouterr().out
    bad = script.run_point("no_such_point", script.sizes(toy=True), {}, 60)
    assert bad["outcome"] == "crashed"
    assert "no_such_point" in bad["error"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says no only where there is no GPU")
def test_without_a_gpu_it_says_so(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main([]) == 2
    assert "no CUDA device" in capsys.readouterr().err
