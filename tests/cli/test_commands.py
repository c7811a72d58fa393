"""The other commands: what they print is what the library computes, in 80 columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.parameters import count_parameters
from rmtscale.profiler import flop_check
from rmtscale.references import REFERENCES
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.current import PRESETS as CURRENT
from rmtscale.specs.devices import DEVICES
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import format_bytes
from tests.command_line import Command


@pytest.mark.parametrize(
    "line",
    [
        "models",
        "devices",
        "cite",
        "flops -m llama-3.1-405b --convention all --breakdown",
        "memory -m opt-125m --mode train --breakdown",
        "plan -m gpt2 -d a100-80gb",
        "plan -m opt-175b -d h200 --dtype bf16 --mode forward",
    ],
)
def test_tables_fit_80_columns(rmtscale: Command, line: str) -> None:
    done = rmtscale(*line.split())
    assert done.code == 0
    assert max(len(text.rstrip()) for text in done.out.splitlines()) <= 80
    assert "…" not in done.out


def test_models(rmtscale: Command) -> None:
    rows = json.loads(rmtscale("models", "--format", "json").out)["rows"]
    assert [row["name"] for row in rows] == [*PRESETS, *CURRENT]
    for row in rows:
        assert row["parameters"] == count_parameters(resolve_model(row["name"])).total


def test_devices(rmtscale: Command) -> None:
    rows = json.loads(rmtscale("devices", "--format", "json").out)["rows"]
    assert [row["name"] for row in rows] == list(DEVICES)
    assert all(row["source"] for row in rows)


def test_cite(rmtscale: Command) -> None:
    assert rmtscale("cite", "--format", "bibtex").out.count("@article") == len(REFERENCES)
    rows = json.loads(rmtscale("cite", "--format", "json").out)["rows"]
    assert {row["arxiv"] for row in rows} >= {"2304.11062", "2203.15556"}


def test_memory_json(rmtscale: Command) -> None:
    done = rmtscale(
        *[
            "memory",
            "-m",
            "gpt2",
            "--tokens",
            "1k,8k",
            "--segment-size",
            "1000",
            "--memory-tokens",
            "2",
            "--mode",
            "train",
        ],
        *["--dtype", "bf16", "--attention", "eager", "--no-dropout", "--checkpoint-segments"],
        *["--breakdown", "--format", "json"],
    )
    rows = json.loads(done.out)["rows"]
    assert len(rows) == 4
    for row in rows:
        work = Workload(
            tokens=row["tokens"],
            mode="train",
            precision="bf16",
            attention="eager",
            dropout=False,
            checkpoint_segments=True,
        )
        recurrence = Recurrence(1000, 2) if row["method"] == "rmt" else None
        assert row["peak_bytes"] == estimate_memory(PRESETS["gpt2"], work, recurrence).total
        assert row["peak_bytes"] == sum(row["terms"].values())


def test_memory_table(rmtscale: Command) -> None:
    done = rmtscale(*["memory", "-m", "gpt2", "--tokens", "4k", "--mode", "train"])
    peak = estimate_memory(PRESETS["gpt2"], Workload(tokens=4000, mode="train")).total
    assert format_bytes(peak) in done.out


def test_plan_says_where_full_attention_wins(rmtscale: Command) -> None:
    done = rmtscale(*["plan", "-m", "gpt2", "-d", "a100-80gb", "--precision", "fp32"])
    words = " ".join(done.out.split())
    assert "Prefill: RMT needs fewer FLOPs from 1,025 tokens on, less memory from" in words
    assert "and less time between" in words
    assert "wins" not in words
    rows = json.loads(rmtscale(*["plan", "-m", "gpt2", "-d", "a100-80gb", "--format", "json"]).out)[
        "rows"
    ]
    assert {row["segment_size"] for row in rows} == {128, 256, 512, 1024}
    assert {row["mode"] for row in rows} == {"prefill", "forward", "train"}
    for row in rows:
        assert row["longest_tokens_search_ended"] == (row["mode"] != "train")
        assert (row["longest_tokens"] is None) == (row["mode"] != "train")
        assert row["fits"]
        assert row["full_checkpointed_fits"] == (True if row["mode"] == "train" else None)


@pytest.mark.parametrize(
    ("model", "more", "full", "checkpointed", "rmt"),
    [
        ("llama-3-70b", (), False, False, False),
        ("llama-3.2-1b", (), True, True, True),
        ("llama-3.2-1b", ("--method", "mamba"), True, None, True),
        ("t5-small", (), True, True, None),
    ],
)
def test_rows_of_a_plan_say_whether_anything_fits(
    rmtscale: Command,
    model: str,
    more: tuple[str, ...],
    full: bool,
    checkpointed: bool | None,
    rmt: bool | None,
) -> None:
    """As the table says it in words: "does not fit", or nothing where nothing was asked."""
    line = ("plan", "--mode", "train", "-d", "rtx-4090", "-m", model, *more)
    rows = json.loads(rmtscale(*line, "--format", "json").out)["rows"]
    for row in rows:
        assert row["full_fits"] == (row["full_longest_tokens"] is not None) == full
        assert row["full_checkpointed_fits"] == checkpointed
        assert row["fits"] == rmt
        if more or rmt is None:
            assert row["checkpointed_fits"] is None
    shown = rmtscale(*line).out
    assert ("does not fit" in shown) == (not full)


def test_plan_names_no_saving_of_what_does_not_fit(rmtscale: Command) -> None:
    line = ("plan", "--mode", "train", "--segment-size", "512", "-d", "rtx-4090", "-m")
    assert "fused AdamW saves" in rmtscale(*line, "llama-3.2-1b").out
    none = rmtscale(*line, "llama-3-70b").out
    assert "not one token of llama-3-70b fits" in " ".join(none.split())
    assert "saves" not in none


def test_plan_recommends_a_segment_size(rmtscale: Command) -> None:
    line = ["plan", "-m", "llama-3-8b", "-d", "h100", "--dtype", "bf16", "--mode", "prefill"]
    done = rmtscale(*line, "--segment-size", "auto")
    assert "Segment size 4096 is recommended: the longest from 128 to 4096" in done.out
    assert "4096 *" in done.out


def test_an_encoder_has_no_prefill(rmtscale: Command) -> None:
    line = ["plan", "-m", "bert-base-cased", "-d", "l4", "--format", "json"]
    rows = json.loads(rmtscale(*line).out)["rows"]
    assert {row["mode"] for row in rows} == {"forward", "train"}
    refused = rmtscale(*line, "--mode", "prefill")
    assert refused.code == 2
    assert (
        "mode 'prefill': bert-base-cased writes no text, expected forward or train" in refused.err
    )


def test_verify(
    rmtscale: Command, monkeypatch: pytest.MonkeyPatch, remembered_shapes: None
) -> None:
    line = [
        "verify",
        "-m",
        "pythia-14m",
        "--tokens",
        "64",
        "--segment-size",
        "32",
        "--memory-tokens",
        "2",
    ]
    done = rmtscale(*line)
    assert done.code == 0
    assert "pass: all 7 counts are equal as integers" in done.out

    real = estimate_flops
    monkeypatch.setattr(
        flop_check,
        "estimate_flops",
        lambda spec, work, recurrence, convention: real(
            spec, Workload(tokens=work.tokens + 1, mode=work.mode), recurrence, convention
        ),
    )
    wrong = rmtscale(*line)
    assert wrong.code == 1
    assert "6 of 7 counts differ from the prediction" in wrong.err


def test_reproduce(rmtscale: Command, tmp_path: Path, unpainted: None) -> None:
    folder = tmp_path / "figure-2"
    done = rmtscale("reproduce", "figure-2", "--out", str(folder))
    assert done.code == 0
    assert "pass: all 12 claims hold" in done.out
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert rmtscale("reproduce", "figure-2", "--out", str(folder)).code == 2
    assert rmtscale("reproduce", "figure-2", "--out", str(folder), "--force").code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("experiment", ["figure-4", "figure-7", "figure-10"])
def test_what_is_left_out_of_records_is_said(
    rmtscale: Command, tmp_path: Path, experiment: str
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("broken\n{}\n{torn")
    done = rmtscale("reproduce", experiment, "--records", str(path), "--out", str(tmp_path / "out"))
    assert done.code == 2
    *warnings, error = done.err.splitlines()
    assert warnings == [
        f"warning: {path}: skipped 2 damaged lines, the first is 1",
        f"warning: {path}: skipped 1 torn line at the end",
    ]
    assert error.startswith("error: records")
