"""An evaluation that several processes share has the records of one, each sample counted once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rmtscale.study.training.layout import BEST
from rmtscale.study.training.loop import train
from tests.command_line import Command
from tests.forked import as_ranks
from tests.study.training.exact_training import memory_task, text_task
from tests.study.training.on_ranks import command_on_one_rank
from tests.tiny_training import write_background

OWN = ("evaluated_at", "seconds", "tokens_per_second", "memory", "environment", "processes")
"""Fields that are not about the samples."""
SIZES = ("--format", "json", "--batch-size", "4", "--samples", "10")
"""Three batches, of text the last one shorter: one process has one more than the other."""
MORE = {
    "memory": (
        "--format",
        "json",
        "--batch-size",
        "4",
        "--samples",
        "10",
        "--probe",
        "--paired-noise",
    ),
    "text": ("--format", "json", "--batch-size", "4", "--samples", "10", "--history", "84"),
}


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("kind", ["memory", "text"])
def test_two_processes_write_what_one_does(kind: str, tmp_path: Path, rmtscale: Command) -> None:
    make = memory_task if kind == "memory" else text_task
    text = write_background(tmp_path / "text", 8, 60)
    train(make(text, 3, 2), tmp_path / "run", device="cpu")
    folder = str(tmp_path / "run" / BEST)
    named = "--text" if kind == "text" else "--background"
    words = ["evaluate", folder, named, str(text), "--device", "cpu", *SIZES, *MORE[kind]]
    one = rmtscale(*words, "--segments", "1,4", "--out", str(tmp_path / "one.jsonl"))
    assert one.code == 0, one.err
    two = tmp_path / "two.jsonl"
    first = [word for word in words if word not in ("--probe", "--paired-noise")]
    rmtscale(*first, "--segments", "1", "--out", str(two))
    known = two.read_text()
    together = [*words, "--segments", "1,4", "--out", str(two)]
    as_ranks(2, tmp_path, command_on_one_rank, together)
    assert two.read_text().startswith(known), "the length that was there is not read again"
    found, wanted = records(two), records(tmp_path / "one.jsonl")
    assert [each.get("processes") for each in found] == [None, 2]
    assert all("processes" not in each for each in wanted), "as before there were more"
    for each in (*found, *wanted):
        assert each["seconds"] > 0
        for name in OWN:
            each.pop(name, None)
    assert found == wanted
    # What is printed too, by the first process alone.
    said = (tmp_path / "rank-0.log").read_text()
    assert (tmp_path / "rank-1.log").read_text() == ""
    if kind == "memory":
        assert found[-1]["probe"]["held"] is None, "of four segments"
        further = one.out[one.out.index('"by_depth"') :]
        assert further in said
