"""``rmtscale evaluate`` on checkpoints of language tasks, as a user gives it."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from rmtscale.study.records.clusters import mean_interval
from rmtscale.study.records.language import LanguageStore
from tests.command_line import Command, Outcome
from tests.tiny_checkpoint import make_checkpoint
from tests.tiny_text import tiny_text_settings, write_text
from tests.tiny_theorems import tiny_theorem_settings, write_theorems

GIVEN = "--samples 20 --batch-size 8 --device cpu".split()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def made(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a training."""
    run = tmp_path_factory.mktemp("runs") / "run"
    make_checkpoint(run / "last", tiny_text_settings(text), run / "text")
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


@pytest.fixture
def evaluate(rmtscale: Command, run: Path, text: Path) -> Command:
    def call(*more: str, where: Path = run / "last") -> Outcome:
        return rmtscale("evaluate", str(where), *GIVEN, "--text", str(text), *more)

    return call


def test_a_table(evaluate: Command, run: Path) -> None:
    done = evaluate("--segments", "1,2,4")
    assert done.code == 0, done.err
    assert max(len(line.rstrip()) for line in done.out.splitlines()) <= 80
    assert "language-modeling, trained on 2 segments of 20, 2 memory tokens" in done.out
    assert "20 samples of 6 documents" in " ".join(done.out.split())
    head = next(line.split() for line in done.out.splitlines() if "seg." in line)
    assert head == ["seg.", "tokens", "nats", "95", "%", "perpl.", "bits/B", "tokens/s", "peak"]
    (record, *_) = LanguageStore(run / "last" / "evaluation.jsonl").read().records
    rows = [line.split()[:3] for line in done.out.splitlines()]
    assert ["1", "16", f"{record.whole.mean_nats:.3f}"] in rows
    assert f"1 segments: loss {record.whole.mean_nats:.3f} nats on 320 tokens\n" in done.err
    assert record.model.name == "run"
    assert not (run / "last" / "text").exists(), "the training's packed text is used"


def test_a_dead_band(evaluate: Command) -> None:
    plain = json.loads(evaluate("--segments", "3", "--format", "json").out)["rows"][0]
    held = evaluate("--segments", "3", "--format", "json", "--dead-band", "0.5")
    assert held.code == 0, held.err
    assert "in the file already" not in held.err
    (row,) = json.loads(held.out)["rows"]
    assert (plain["dead_band"], row["dead_band"]) == (0.0, 0.5)
    assert row["loss_nats_per_token"] != plain["loss_nats_per_token"]
    assert ", dead band 0.5; " in " ".join(
        evaluate("--segments", "3", "--dead-band", "0.5").out.split()
    )


def test_numbers_with_their_units(evaluate: Command, run: Path, text: Path) -> None:
    done = evaluate("--segments", "1,3", "--format", "json", "--history", "48")
    rows = json.loads(done.out)["rows"]
    records = LanguageStore(run / "last" / "evaluation.jsonl").read().records
    for row, record in zip(rows, records, strict=True):
        interval = mean_interval(record.whole)
        assert row == {
            "task": "language-modeling",
            "model": "run",
            "text": text.name,
            "segments": record.point.segments,
            "text_tokens": record.point.segments * 16,
            "block_tokens": 16,
            "history_tokens": 48,
            "samples": 20,
            "scored_tokens": 320,
            "loss_nats_per_token": interval.mean,
            "loss_low_nats_per_token": interval.low,
            "loss_high_nats_per_token": interval.high,
            "perplexity": math.exp(interval.mean),
            "bits_per_byte": record.whole.bits_per_byte,
            "forward_flops": record.forward_flops,
            "tokens_per_second": record.tokens_per_second,
            "peak_bytes": record.memory.peak_resident_bytes,
            "precision": "fp32",
            "device": "cpu",
            "sink_tokens": 0,
            "trained_repeat_share": 0.0,
            "dead_band": 0.0,
            "compile_step": False,
        }
    table = evaluate("--segments", "1,3", "--format", "csv", "--history", "48")
    read = list(csv.DictReader(io.StringIO(table.out)))
    assert [float(row["loss_nats_per_token"]) for row in read] == [
        row["loss_nats_per_token"] for row in rows
    ]
    assert table.err.count("(in the file already)") == 2


def test_of_one_document_there_is_no_interval(rmtscale: Command, run: Path, tmp_path: Path) -> None:
    one = write_text(tmp_path / "one", documents=1)
    given = ["evaluate", str(run / "last"), *GIVEN, "--text", str(one), "--segments", "1"]
    row = json.loads(rmtscale(*given, "--format", "json").out)["rows"][0]
    assert row["loss_low_nats_per_token"] is None
    assert row["loss_nats_per_token"] > 0
    assert " inf" not in rmtscale(*given).out


def test_beginning_anew(evaluate: Command, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    for force, lines in (([], 1), ([], 1), (["--force"], 1)):
        done = evaluate("--segments", "1", "--out", str(out), *force)
        assert len(LanguageStore(out).read().records) == lines
    assert "already" not in done.err
    evaluate("--segments", "1", "--out", str(out), "--samples", "10")
    assert len(LanguageStore(out).read().records) == 2


def test_a_lemma_proof(rmtscale: Command, tmp_path: Path) -> None:
    text = write_theorems(tmp_path / "decls.jsonl")
    folder = tmp_path / "last"
    make_checkpoint(folder, tiny_theorem_settings(text), tmp_path / "text")
    given = ["evaluate", str(folder), *GIVEN, "--text", str(text), "--segments", "2,3"]
    done = rmtscale(*given)
    assert done.code == 0, done.err
    assert max(len(line.rstrip()) for line in done.out.splitlines()) <= 80
    rows = [line.split() for line in done.out.splitlines()]
    for part in ("all", "last-segment", "proof", "names", "names-without"):
        assert sum(row[:1] == [part] for row in rows) == 2
    row = json.loads(rmtscale(*given, "--format", "json").out)["rows"][0]
    assert row["names"]["scored_tokens"] == row["names-without"]["scored_tokens"] > 0
    assert row["scored_tokens"] == row["samples"] * 200
    assert "names.loss_nats_per_token" in rmtscale(*given, "--format", "csv").out
    refused = rmtscale(*given, "--history", "5")
    assert (refused.code, "history tokens 5 with lemma-proof" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            "--background x",
            "--background 'x': expected with a memory task only, this",
        ),
        (
            "--option placement=start",
            "--option 'placement=start': expected with a memory task",
        ),
        ("--probe", "--probe: expected with a memory task only"),
        ("--compile", "--compile on a CPU: expected --device cuda, segments are compiled there"),
        ("--no-repeats", "--no-repeats: expected with a memory task only"),
        ("--repeats", "--repeats: expected with a memory task only"),
        ("--long-samples 3", "--long-samples 3: expected with a memory task only"),
        ("--seed 0", "--seed 0: expected with a memory task only"),
        ("--task lemma-proof", "is of the task 'language-modeling': expected lemma-proof"),
        ("--task memorize", "is of the task 'language-modeling': expected memorize"),
        ("--segments 1,5000", "history tokens 79984 and block tokens 16: expected a document"),
        ("--history 10 --segments 2", "history tokens 10: expected 16 or more"),
        ("--history many", "history 'many': expected a whole number"),
        ("--precision bf16", "precision 'bf16' on a CPU: expected fp32"),
        ("--segments 0", "segments '0': expected 1 or more"),
        ("--samples 0", "samples 0: expected a whole number of 1 or more"),
    ],
)
def test_bad_input(evaluate: Command, run: Path, more: str, words: str) -> None:
    done = evaluate(*more.split())
    assert done.code == 2, done.err
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not (run / "last" / "evaluation.jsonl").exists()


def test_the_text_it_was_trained_on_is_not_here(
    rmtscale: Command, run: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = rmtscale("evaluate", str(run / "last"), "--device", "cpu")
    assert done.code == 2
    assert f"text {text.name!r}, which it was trained on, is not here: expected" in done.err


def broken(folder: Path, **changed: Any) -> Path:
    file = folder / "task.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"task": "forget"}, "is of the task 'forget': expected memorize, detect-memorize"),
        ({"task": ["memorize"]}, "is of the task ['memorize']: expected memorize"),
        ({"settings": {"task": "language-modeling", "colour": 1}}, "colour: no such field"),
        ({"tokenizer": {"kind": "letters"}}, "tokenizer of kind 'letters'"),
        ({"trained": None}, "task.json: Trained: expected an object"),
        ({"format_version": 99}, "of version 99, expected 1"),
    ],
)
def test_a_damaged_checkpoint(
    evaluate: Command, run: Path, changed: dict[str, Any], words: str
) -> None:
    done = evaluate(where=broken(run / "last", **changed))
    assert done.code == 2, done.err
    assert words in done.err
    assert done.err.startswith("error: ")


def test_damaged_weights(evaluate: Command, run: Path) -> None:
    weights = run / "last" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    done = evaluate()
    assert (done.code, "is truncated or damaged" in done.err) == (2, True)
    (run / "last" / "task.json").write_text("{")
    done = evaluate()
    assert (done.code, "this is not JSON" in done.err) == (2, True)
