"""``rmtscale dead-band`` as a user gives it, on a committed checkpoint and on bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.study.evaluation import memory_changes, widths
from rmtscale.study.records.widths import ChosenWidths, WidthStore, chosen_by_accuracy
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.training.checkpoint import weights_digest
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

    monkeypatch.setattr(widths, "measure_changes", refuse)
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


def test_a_file_of_records_is_asked_for(
    rmtscale: Command, given: list[str], tmp_path: Path
) -> None:
    """By changes nothing is written into the checkpoint."""
    path = tmp_path / "widths.jsonl"
    done = rmtscale("dead-band", *given, "--out", str(path))
    (record,) = WidthStore(path).read().records
    point, changes = record.point, record.changes
    assert (point.by, point.segments, point.samples, point.batch_size) == ("changes", 7, 2, 2)
    assert point.weights == weights_digest(CHECKPOINT)
    assert changes is not None
    assert done.out.startswith(f"dead band {changes.dead_band:g}: ")
    assert ChosenWidths([record]).how(point.weights, changes.dead_band or 0) == "by changes"


def test_by_accuracy(rmtscale: Command, given: list[str], tmp_path: Path) -> None:
    path = tmp_path / "widths.jsonl"
    sizes = ["--segments", "2,1", "--samples", "3", "--widths", "0.4,9", "--out", str(path)]
    more = [*given[:1], *given[5:], "--by", "accuracy", "--batch-size", "2", *sizes]
    done = rmtscale("dead-band", *more)
    assert done.code == 0, done.err
    *lines, use = done.out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert "1 segments, dead band 9: " in done.err
    records = WidthStore(path).read().records
    assert [(one.point.segments, one.point.dead_band) for one in records] == [
        (count, width) for count in (1, 2) for width in (0.0, 0.4, 9.0)
    ]
    chosen = chosen_by_accuracy(records)
    band = f" --dead-band {chosen.width:g}" if chosen.width else ""
    assert use == f"use it with: rmtscale evaluate {CHECKPOINT}{band}"
    again = rmtscale("dead-band", *more, "--format", "json")
    assert again.err.count("(in the file already)") == 6
    rows = json.loads(again.out)["rows"]
    assert len(rows) == 6
    assert {row["dead_band"] for row in rows if row["chosen"]} == {chosen.width}
    for row, record in zip(rows, sorted(records, key=lambda one: one.point.dead_band), strict=True):
        assert (row["dead_band"], row["segments"]) == (
            record.point.dead_band,
            record.point.segments,
        )
        assert (row["samples"], row["correct"]) == (3, (record.right or "").count("1"))


@pytest.mark.parametrize(
    ("right", "words", "use"),
    [
        (("1100", "1110"), "dead band 0.4: 75.00 % of training stories right, 50.00 % with", True),
        (
            ("1110", "1100"),
            "no dead band: 75.00 % of training stories right without one, 50.00 % with the best of "
            "these widths Right answers",
            False,
        ),
    ],
)
def test_it_says_what_would_be_evaluated(
    rmtscale: Command,
    given: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    right: tuple[str, str],
    words: str,
    use: bool,
) -> None:
    found = dict(zip((0.0, 0.4), right, strict=True))
    monkeypatch.setattr(widths, "right_by_width", lambda *_: found)
    more = ["--by", "accuracy", "--samples", "4", "--segments", "1", "--widths", "0.4"]
    out = ["--out", str(tmp_path / "widths.jsonl")]
    done = rmtscale("dead-band", *given[:1], *given[5:], *more, *out)
    assert done.code == 0, done.err
    assert " ".join(done.out.split()).startswith(words)
    assert done.out.splitlines()[-1].endswith(" --dead-band 0.4") == use


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--by", "luck"], "by 'luck': expected one of changes, accuracy"),
        (["--widths", "0.3"], "--widths '0.3': expected with --by accuracy only"),
        (["--batch-size", "3"], "--batch-size 3: expected with --by accuracy only"),
        (["--no-compile"], "--no-compile: expected with --by accuracy only"),
        (["--segments", "7,8"], "segments '7,8': expected one number, or --by accuracy"),
        (["--by", "accuracy", "--widths", "0.3,x"], "widths '0.3,x': expected a list of numbers"),
        (["--by", "accuracy", "--widths", "0"], "widths '0': expected a list of numbers above 0"),
        (["--by", "accuracy", "--compile"], "--compile on a CPU: expected --device cuda"),
    ],
)
def test_ways_and_their_options(
    rmtscale: Command, given: list[str], more: list[str], words: str
) -> None:
    done = rmtscale("dead-band", *given, *more)
    assert done.code == 2
    assert words in done.err


def test_it_is_for_memory_tasks(rmtscale: Command, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text('{"format_version": 1, "task": "language-modeling"}')
    done = rmtscale("dead-band", str(tmp_path))
    assert done.code == 2
    assert "is of the task 'language-modeling': expected memorize" in done.err
