"""``rmtscale flops`` as somebody who types it sees it."""

from __future__ import annotations

import csv
import io
import json

from rmtscale.costs.flops import estimate_flops
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import format_flops
from tests.command_line import Command


def test_one_model_is_enough(rmtscale: Command) -> None:
    done = rmtscale("flops", "--model", "opt-175b")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "Convention hoffmann" in done.out
    rows = [line.split() for line in lines if line.endswith(("x27.43", "x0.928"))]
    assert [row[0] for row in rows] == ["512", "2,048,000"]
    words = " ".join(done.out.split())
    assert "the other conventions say: matmul x27.37, kaplan x14.26, paper x29.02." in words


def test_json(rmtscale: Command) -> None:
    done = rmtscale(
        *[
            "flops",
            "-m",
            "gpt2",
            "--tokens",
            "1k,2M",
            "--segment-size",
            "1000",
            "--memory-tokens",
            "2",
        ],
        *[
            "--convention",
            "all",
            "--mode",
            "train",
            "--batch-size",
            "3",
            "--breakdown",
            "--format",
            "json",
        ],
    )
    data = json.loads(done.out)
    assert data["schema_version"] == 1
    assert len(data["rows"]) == 2 * 2 * 4
    for row in data["rows"]:
        rmt = row["method"] == "rmt"
        work = Workload(tokens=row["tokens"], mode="train", batch_size=3)
        recurrence = Recurrence(1000, 2) if rmt else None
        expected = estimate_flops(PRESETS["gpt2"], work, recurrence, row["convention"])
        assert row["flops"] == expected.total
        assert row["terms"] == expected.by_name()
        assert row["segment_size"] == (1000 if rmt else None)
        named = [
            "model",
            "method",
            "tokens",
            "segment_size",
            "memory_tokens",
            "segments",
            "mode",
            "convention",
        ]
        assert list(row)[:8] == named
    segments = {
        row["convention"]: row["segments"]
        for row in data["rows"]
        if row["method"] == "rmt" and row["tokens"] == 2_000_000
    }
    assert segments == {"hoffmann": 2009, "matmul": 2009, "kaplan": 2009, "paper": 2000}


def test_csv(rmtscale: Command) -> None:
    done = rmtscale(*["flops", "-m", "gpt2", "--tokens", "512", "--format", "csv", "--breakdown"])
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["method"] for row in rows] == ["full", "rmt"]
    for row in rows:
        terms = [int(value) for key, value in row.items() if key.startswith("terms.") and value]
        assert sum(terms) == int(row["flops"])


def test_breakdown_shows_the_sum(rmtscale: Command) -> None:
    done = rmtscale(*["flops", "-m", "gpt2", "--tokens", "512", "--breakdown"])
    total = estimate_flops(PRESETS["gpt2"], Workload(tokens=512)).total
    assert "forward.qkv" in done.out
    sums = next(line for line in done.out.splitlines() if line.startswith("sum"))
    assert format_flops(total) in sums


def test_no_memory_tokens(rmtscale: Command) -> None:
    done = rmtscale(
        *[
            "flops",
            "-m",
            "gpt2",
            "--tokens",
            "1024",
            "--memory-tokens",
            "0",
            "--convention",
            "matmul",
        ]
    )
    assert done.code == 0
    assert "512 tokens = 512 text + 0 memory" in done.out


def test_an_encoder(rmtscale: Command) -> None:
    done = rmtscale(*["flops", "-m", "bert-base-cased", "--tokens", "499,4990"])
    assert "512 tokens = 499 text + 13 memory and special" in done.out
