"""A model type is one row: a fake one is taken by every command, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rmtscale.specs.rows.catalog import ROWS
from rmtscale.specs.rows.row import Experts, Row
from tests.command_line import Command
from tests.grids import THOROUGH, covering
from tests.specs.test_rows import NO_HEAD, class_name
from tests.specs.tiny_configs import TINY

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 40,
    "vocab_size": 101,
}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A type that no Transformers has: grouped queries, norms of the heads, experts."""
    row = Row(
        prefix="Dream",
        defaults={"tie_word_embeddings": False},
        qk_norm="head",
        experts=Experts(),
    )
    monkeypatch.setitem(ROWS, "dream", row)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "dream", **SIZES}), encoding="utf-8")
    return str(path)


TAKEN = [
    "models MODEL",
    "models MODEL --format json",
    "flops -m MODEL --tokens 512,4k --convention all",
    "flops -m MODEL --tokens 512 --mode train --breakdown",
    "memory -m MODEL --tokens 512,4k",
    "memory -m MODEL --tokens 512 --mode train --checkpoint-segments --format json",
    "plan -m MODEL -d h100-sxm --dtype bf16",
    "compare -m MODEL --tokens 1k,8k",
    "compare -m MODEL --methods all --tokens 1k --format json",
    "generate-cost -m MODEL -d h100-sxm --context 4k --new-tokens 20",
]


@pytest.mark.parametrize("line", TAKEN)
def test_a_new_type_is_taken(fake: str, rmtscale: Command, line: str) -> None:
    done = rmtscale(*line.replace("MODEL", fake).split())
    assert done.code == 0, done.err
    assert done.out


REFUSED = [
    "verify -m MODEL --tokens 64",
    "flops -m MODEL --tokens 64 --method no-such-method",
    "memory -m MODEL --tokens 64 --method mamba",
]


@pytest.mark.parametrize("line", REFUSED)
def test_or_refused_in_one_line(fake: str, rmtscale: Command, line: str) -> None:
    done = rmtscale(*line.replace("MODEL", fake).split())
    assert done.code == 2
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1


SLOW = "plan -m MODEL -d h100-sxm --dtype bf16"
MORE = "memory -m MODEL --tokens 512 --mode train --method sliding-window"


@pytest.mark.parametrize("kind", ROWS)
def test_every_type_is_taken_or_refused(kind: str, rmtscale: Command, tmp_path: Path) -> None:
    """By every command, in one line; all commands of all types in ``make verify``."""
    path = tmp_path / f"{kind}.json"
    path.write_text(json.dumps(TINY[kind]), encoding="utf-8")
    turn = list(ROWS).index(kind)
    lines = [line for line in (*TAKEN, MORE) if line != SLOW]
    for line in (*lines, SLOW) if THOROUGH else lines[turn % len(lines) :][:1]:
        done = rmtscale(*line.replace("MODEL", str(path)).split())
        errors = [text for text in done.err.splitlines() if text.startswith("error: ")]
        assert (done.code, len(errors)) in ((0, 0), (2, 1)), (line, done.err)
        if line.startswith("models"):
            assert done.code == 0, (line, done.err)


VERIFIED = ROWS if THOROUGH else ("qwen3", "mamba", "t5", "gemma4_text", "albert", "gpt_oss")


@pytest.mark.parametrize(("kind", "mode"), covering(VERIFIED, ["train", "forward"]))
def test_every_type_is_verified(kind: str, mode: str, rmtscale: Command, tmp_path: Path) -> None:
    """The command, from the file; with an RMT where one can be put around the module."""
    path = tmp_path / f"{kind}.json"
    config = TINY[kind]
    if kind in NO_HEAD:
        config = {**config, "architectures": [class_name(kind)]}
    path.write_text(json.dumps(config), encoding="utf-8")
    tokens = "40" if mode == "train" and not THOROUGH else "40,90"
    sizes = ["--tokens", tokens, "--segment-size", "32", "--memory-tokens", "2"]
    done = rmtscale("verify", "-m", str(path), "--mode", mode, *sizes)
    assert done.code == 0, (done.out, done.err)
    assert "built from the file" in done.out


def test_one_model_in_numbers(rmtscale: Command, fake: str) -> None:
    (row,) = json.loads(rmtscale("models", fake, "--format", "json").out)["rows"]
    assert (row["model_type"], row["class"], row["head"]) == (
        "dream",
        "DreamForCausalLM",
        "language model",
    )
    width, inner, vocabulary = 64, 40, 101
    attention = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 2 * 16
    experts = 8 * 3 * width * inner + 8 * width
    layers = 3 * (attention + experts + 2 * width)
    assert row["parameters"] == layers + width + 2 * vocabulary * width
    assert row["active_parameters"] == row["parameters"] - 3 * 6 * 3 * width * inner
    assert row["kv_cache_bytes_per_token"] == 3 * 2 * 2 * 16 * 2
    assert row["state_bytes"] == 0
    assert [group["count"] for group in row["groups"]] == [3]
    assert row["not_counted"] == []


def test_a_folder_is_held_against_a_truth(rmtscale: Command, tmp_path: Path) -> None:
    for kind in ("qwen3", "mixtral"):
        (tmp_path / f"{kind}.json").write_text(json.dumps(TINY[kind]), encoding="utf-8")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    (row,) = json.loads(rmtscale("models", str(tmp_path / "qwen3.json"), "-f", "json").out)["rows"]
    truth = tmp_path / "truth" / "TRUTH.json"
    truth.parent.mkdir()
    known = {
        "qwen3": {"parameters": row["parameters"], "class": "Qwen3ForCausalLM"},
        "mixtral": {"parameters": 1, "class": "MixtralForCausalLM"},
    }
    truth.write_text(json.dumps(known), encoding="utf-8")
    done = rmtscale("models", str(tmp_path), "--truth", str(truth), "--format", "json")
    rows = {row["file"]: row for row in json.loads(done.out)["rows"]}
    assert rows["qwen3"]["parameters_equal"] is True
    assert rows["mixtral"]["parameters_equal"] is False
    assert "not JSON" in rows["broken"]["refused"]
    table = rmtscale("models", str(tmp_path), "--truth", str(truth)).out
    assert "read: 2 of 3 files" in table
    assert "of 2 whose parameters are known 2 are read, 1 exactly" in table


def test_verify_reads_the_users_own_file(rmtscale: Command, tmp_path: Path) -> None:
    """The module is built from the file: a field that we do not know makes a difference there."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY["qwen3_moe"]), encoding="utf-8")
    done = rmtscale("verify", "-m", str(path), "--tokens", "48")
    assert done.code == 0, done.err
    assert "built from the file" in done.out
    labels = TINY["bert"] | {"architectures": ["BertForSequenceClassification"], "num_labels": 1}
    path.write_text(json.dumps(labels), encoding="utf-8")
    line = ["verify", "-m", str(path), "--tokens", "60", "--segment-size", "24"]
    assert rmtscale(*line, "--memory-tokens", "2").code == 0


def test_a_type_without_a_row_is_counted(
    rmtscale: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RMTSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delitem(ROWS, "qwen3")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY["qwen3"]), encoding="utf-8")
    (row,) = json.loads(rmtscale("models", str(path), "--format", "json").out)["rows"]
    assert row["counted"] == "counted on the real module, not a closed form"
    counted = [rmtscale("flops", "-m", str(path), "--tokens", "48,64", "-f", "json") for _ in "ab"]
    assert counted[0].out == counted[1].out
    assert len(list((tmp_path / "cache" / "counted").iterdir())) == 1
    monkeypatch.undo()
    (closed,) = json.loads(rmtscale("models", str(path), "--format", "json").out)["rows"]
    assert row["parameters"] == closed["parameters"]
    done = rmtscale(
        "flops", "-m", str(path), "--tokens", "48,64", "--convention", "matmul", "-f", "json"
    )
    full = [row["flops"] for row in json.loads(done.out)["rows"] if row["method"] == "full"]
    assert [row["flops"] for row in json.loads(counted[0].out)["rows"]] == full
    refused = rmtscale("memory", "-m", str(tmp_path / "none.json"))
    assert refused.code == 2
