"""``rmtscale dead-band`` as a user gives it, on a committed checkpoint and on bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.study.evaluation import memory_changes
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.training.memory_tasks.reading import Reader
from tests.command_line import Command
from tests.tiny_training import write_background

CHECKPOINT = Path(__file__).parents[2] / "reports" / "figure-5" / "checkpoints" / "memorize-0"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    background = write_background(tmp_path_factory.mktemp("text"))
    sizes = ["--segments", "7", "--samples", "2", "--device", "cpu"]
    return [str(CHECKPOINT), *sizes, "--background", str(background)]


def test_of_a_committed_checkpoint(rmtscale: Command, given: list[str]) -> None:
    done = rmtscale("dead-band", *given)
    assert done.code == 0, done.err
    *lines, use = done.out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    rows = json.loads(rmtscale("dead-band", *given, "--format", "json").out)["rows"]
    noise, fact = rows
    width = noise["dead_band"]
    assert done.out.startswith(f"dead band {width:g}: a fact changes ")
    assert use == f"use it with: rmtscale evaluate {CHECKPOINT} --dead-band {width:g}"
    assert width == pytest.approx(round(20 * width) / 20)
    assert noise["change_99_9"] < width < fact["change_50"]
    assert width**2 == pytest.approx(noise["change_99_9"] * fact["change_50"], abs=0.05 * width)
    assert fact["share_over_dead_band"] >= 0.5
    assert noise["share_over_dead_band"] < 0.001
    assert noise["numbers"] == fact["numbers"]  # one segment of each, of every sample


def test_it_reads_as_much_as_the_stories_need(
    rmtscale: Command, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without sizes; what is given is taken as it is."""
    read: list[tuple[int, int, int]] = []

    def refuse(reader: Reader, batches: Batches, samples: int) -> None:
        read.append((batches.tokens // batches.segment_tokens, batches.batch_size, samples))
        raise BadInput("seen")

    monkeypatch.setattr(memory_changes, "measure_changes", refuse)
    sizes = given.index("--segments")
    for more in ([], given[sizes : sizes + 2], given[sizes + 2 : sizes + 4]):
        bare = [*given[:sizes], *given[sizes + 4 :], *more]
        assert "seen" in rmtscale("dead-band", *bare).err
    assert read == [(16, 16, 32), (7, 16, 32), (16, 2, 2)]


def test_where_there_is_none(
    rmtscale: Command, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_changes, "STEP", 50.0)
    done = rmtscale("dead-band", *given)
    assert done.code == 1
    assert "error: no multiple of 0.05 lies above the 99.9th percentile" in done.err
    assert "settled noise" in done.out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--segments", "6"], "segments 6: expected 7 or more"),
        (["--samples", "0"], "samples 0: expected a whole number of 1 or more"),
        (["--format", "xml"], "format 'xml': expected one of table, json, csv"),
    ],
)
def test_bad_input(rmtscale: Command, given: list[str], more: list[str], words: str) -> None:
    done = rmtscale("dead-band", *given, *more)
    assert done.code == 2
    assert words in done.err


def test_it_is_for_memory_tasks(rmtscale: Command, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text('{"format_version": 1, "task": "language-modeling"}')
    done = rmtscale("dead-band", str(tmp_path))
    assert done.code == 2
    assert "is of the task 'language-modeling': expected memorize" in done.err
