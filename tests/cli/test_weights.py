"""``--weights``, and configs of quantised models, as somebody who types it sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rmtscale.costs.weights import weight_bytes
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.quantization.reading import quantize
from rmtscale.specs.rows.catalog import ROWS
from tests.command_line import Command
from tests.specs.tiny_configs import TINY

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}


@pytest.fixture
def quantised(tmp_path: Path) -> str:
    config: dict[str, Any] = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "torch_dtype": "float16",
        "quantization_config": AWQ,
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


LINES = (
    "memory --tokens 4k --dtype bf16",
    "generate-cost -d h200 --context 4k --new-tokens 8",
    "plan -d h200 --mode forward --dtype bf16",
)


@pytest.mark.parametrize("line", LINES)
def test_every_command_has_the_same_bytes(rmtscale: Command, line: str, quantised: str) -> None:
    expected = weight_bytes(quantize(resolve_model("llama-3-8b"), "int4"), 2)
    for model in (["-m", "llama-3-8b", "--weights", "int4"], ["-m", quantised]):
        done = rmtscale(*line.split(), *model, "-f", "json")
        assert done.code == 0
        rows = json.loads(done.out)["rows"]
        full = [row for row in rows if row.get("method") == "full"] or rows
        assert full[0]["weight_bytes"] == expected


@pytest.mark.parametrize("line", LINES)
def test_tables_say_how_weights_are_stored(rmtscale: Command, line: str) -> None:
    done = rmtscale(*line.split(), "-m", "llama-3-8b", "--weights", "nf4")
    assert done.code == 0
    assert "nf4 in blocks of 64" in done.out
    assert all(len(text) <= 80 for text in done.out.splitlines())


def test_a_quantised_config(rmtscale: Command, quantised: str) -> None:
    (row,) = json.loads(rmtscale("models", quantised, "-f", "json").out)["rows"]
    assert row["weight_bytes"] == 5_727_854_592
    assert row["weights"] == "awq: int4 in groups of 128, zero points; the rest fp16"
    assert row["not_counted"] == []
    assert sum(group["count"] for group in row["groups"]) == 32
    done = rmtscale("models", quantised)
    assert "5.334 GiB, awq: int4 in groups of 128" in done.out


def test_training_takes_plain_weights(rmtscale: Command, quantised: str) -> None:
    note = "note: training takes plain weights, not awq: int4 in groups of 128, zero points"
    done = rmtscale("memory", "-m", quantised, "--mode", "train", "--tokens", "1k", "-f", "json")
    plain = rmtscale(
        "memory", "-m", "llama-3-8b", "--mode", "train", "--tokens", "1k", "-f", "json"
    )
    assert note in done.err
    peaks = [json.loads(one.out)["rows"][0]["peak_bytes"] for one in (done, plain)]
    assert peaks[0] == peaks[1]
    assert note in rmtscale("plan", "-m", quantised, "-d", "h200").err


def test_a_folder_has_the_bytes(rmtscale: Command, quantised: str) -> None:
    folder = Path(quantised).parent / "folder"
    folder.mkdir()
    (folder / "one.json").write_bytes(Path(quantised).read_bytes())
    (row,) = json.loads(rmtscale("models", str(folder), "-f", "json").out)["rows"]
    assert row["weight_bytes"] == 5_727_854_592
    assert row["weights"].startswith("awq: int4 in groups of 128")


def test_a_type_without_a_row_names_its_quantisation(
    rmtscale: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RMTSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delitem(ROWS, "qwen3")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY["qwen3"] | {"quantization_config": AWQ}), encoding="utf-8")
    for _ in ("counted", "remembered"):
        (row,) = json.loads(rmtscale("models", str(path), "-f", "json").out)["rows"]
        assert "quantization awq: the bytes of the weights are not counted" in row["not_counted"]


REFUSED = {
    "memory -m llama-3-8b --weights int3": "expected int8, fp8, nf4, nf4-double or int4",
    "memory -m llama-3-8b --weights int4:48": "expected multiples of 48 and 8",
    "memory -m llama-3-8b --weights nf4 --mode train": "have no gradient, expected mode forward",
    "plan -m llama-3-8b --weights nf4 --mode train -d h200": "have no gradient",
    "memory -m llama-3-8b --weights fp8 -d v100": "need compute capability 8.0",
    "memory -m bert-base-uncased --weights int8": "the linear layers of a bert are not named",
}


@pytest.mark.parametrize("line", REFUSED)
def test_refused_in_one_line(rmtscale: Command, line: str) -> None:
    done = rmtscale(*line.split())
    assert done.code == 2
    assert REFUSED[line] in done.err
    assert len(done.err.strip().splitlines()) == 1
