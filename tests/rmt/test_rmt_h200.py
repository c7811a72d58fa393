"""The script that measures the RMT: its arithmetic, and that it writes what it says."""

from __future__ import annotations

import importlib
import json
import multiprocessing
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
    script: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Processes are copies of this one, and not of a server that loads the libraries again.
    copies = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: copies)
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


def test_the_faster_captured_step_counts_and_none_that_ran_eagerly() -> None:
    fastest = importlib.import_module("tests.bench.fastest_h200")
    full: dict[str, Any] = {"iteration_seconds": 2.0, "peak_allocated_bytes": 100}
    rows: dict[str, dict[str, Any]] = {
        "train 16k fp32 full": full,
        "train 16k fp32 rmt 1000, eager": {"iteration_seconds": 0.5},
        "train 16k fp32 rmt 1000, captured": {"iteration_seconds": 1.0, "peak_reserved_bytes": 60},
        "train 16k fp32 rmt 1000, captured, compiled": {
            "iteration_seconds": 0.9, "peak_reserved_bytes": 40, "captured_shapes": 1,
        },
        "train 16k fp32 rmt 500, captured": {"iteration_seconds": 1.2, "captured_shapes": 0},
        "ceiling inference dtype": {"flops_per_second": 4.0},
        "infer llama, compiled": {"flops_per_second": 3.0},
    }  # fmt: skip
    found = fastest.ratios(rows)
    assert set(found) == set(fastest.TARGETS)
    assert found["16k fp32, segment 1000: time"] == 0.45
    assert found["16k fp32, segment 1000: memory"] == 0.4
    assert found["16k fp32, segment 500: time"] is None
    assert found["inference, Llama of 1.2B: share of ceiling"] == 0.75
    del rows["train 16k fp32 rmt 500, captured"]
    assert fastest.ratios(rows)["16k fp32, segment 500: time"] is None, "no other size stands in"


def test_a_llama_s_flops_are_those_of_the_module() -> None:
    fastest = importlib.import_module("tests.bench.fastest_h200")
    given = fastest.fastest_sizes(toy=True)
    with torch.device("meta"):
        backbone = fastest.llama(given, given["llama segment"])
    model = RMTForCausalLM(backbone, RMTConfig(given["llama segment"], 2)).eval()
    ids = torch.zeros(1, 3 * model.segment_tokens, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids, keep_logits="none")
    # The angles of rotary positions are a table, not a matmul of the model.
    angles = 3 * 2 * (given["llama segment"]) * given["llama"]["hidden_size"] // 8
    assert abs(counter.get_total_flops() - fastest.llama_flops(ids.shape[1], given)) <= angles


def test_waves_of_tiles_and_the_points_of_the_kernel_script() -> None:
    kernels = importlib.import_module("tests.bench.inference_kernels_h200")
    # 8 x 18 tiles: one full wave of 132 and one of 12.
    found = kernels.bound(1000, 768, 2304, (128, 128))
    assert (found["tiles"], found["waves"]) == (144, 2)
    assert found["share"] == pytest.approx(1000 * 2304 / (264 * 128 * 128), abs=1e-12)
    memory = importlib.import_module("tests.bench.memory_h200")
    for script in (kernels, memory):
        for kind, _ in script.points(script.sizes(toy=True)).values():
            module, _, name = kind.rpartition(":")
            assert callable(getattr(importlib.import_module(module), name))
