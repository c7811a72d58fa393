"""Figure 5's page: from records or trainings, its numbers, and what lies beside it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rmtscale.study.figures.figure import Sources
from rmtscale.study.figures.figure_5 import page
from rmtscale.study.figures.memory_tasks.axes import right_share
from rmtscale.study.figures.memory_tasks.page import csv_of
from rmtscale.study.figures.memory_tasks.plan import plan
from rmtscale.study.figures.memory_tasks.recipes import TASKS
from rmtscale.study.figures.registry import FIGURES
from rmtscale.study.figures.training_runs import TrainingSetup
from tests.command_line import Command
from tests.synthetic.evaluations import evaluation
from tests.synthetic.retention import decoders

pytestmark = pytest.mark.usefixtures("unpainted")


def test_from_records(rmtscale: Command, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(one.to_line() + "\n" for one in decoders()))
    done = rmtscale("reproduce", "figure-5", "--records", str(path), "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| 4,096 | 2,064,384 | 100.00 % (99.62 to 100.00) |" in text
    lines = text.splitlines()
    assert lines[2].startswith(
        "**Right answers at 2.06M tokens, worst to best: Memorize 100 % (paper"
    )
    assert max(len(line) for line in lines if not line.startswith("|")) <= 100


def test_shares_keep_a_half() -> None:
    accuracies = (0.685, 0.73, 1.0, 0.995)
    made = [evaluation(4096, share, samples=200) for share in accuracies]
    told = [right_share(some).replace("\N{NO-BREAK SPACE}", " ") for some in (made[:2], made[2:])]
    assert told == ["68.5 to 73 %", "99.5 to 100 %"]


def test_what_was_trained_lies_beside_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint that was evaluated, without its own records, and its metrics."""
    runs, out = tmp_path / "runs", tmp_path / "out"
    planned = plan(page.TRAININGS, quick=False, background="/far/away/prose", seeds=(1,))
    for name in planned.recipes:
        for path in ("metrics.jsonl", "best/model.safetensors", "best/evaluation.jsonl"):
            (runs / name / path).parent.mkdir(parents=True, exist_ok=True)
            (runs / name / path).write_text(f"{path} of {name}")
    monkeypatch.setattr(page, "collect", lambda *_: (planned, decoders()))
    FIGURES["figure-5"].make(out, Sources(training=TrainingSetup(folder=runs)))
    assert list(planned.recipes) == [f"{task}-1" for task in TASKS]
    for name in planned.recipes:
        folder = out / "checkpoints" / name
        assert {file.name: file.read_text() for file in folder.iterdir()} == {
            "model.safetensors": f"best/model.safetensors of {name}",
            "training.jsonl": f"metrics.jsonl of {name}",
        }
    settings = json.loads((out / "settings.json").read_text())
    assert {one["background"] for one in settings.values()} == {"prose"}


def test_no_records(rmtscale: Command, tmp_path: Path) -> None:
    done = rmtscale(
        "reproduce", "figure-5", "--records", str(tmp_path / "none.jsonl"), "-o", str(tmp_path)
    )
    assert done.code == 2
    assert "expected a file that 'rmtscale evaluate' wrote" in done.err


def test_numbers_say_what_was_compiled() -> None:
    plain, compiled = evaluation(2, 1.0), evaluation(4, 1.0, compile_step=True)
    assert "compile_step" not in csv_of([plain])
    rows = list(csv.DictReader(io.StringIO(csv_of([plain, compiled]))))
    assert [row["compile_step"] for row in rows] == ["", "1"]


def test_numbers_say_what_was_merged() -> None:
    plain, read = evaluation(2, 1.0), evaluation(4, 1.0)
    merged = replace(read, point=replace(read.point, merged_lora=True))
    assert "merged_lora" not in csv_of([plain])
    rows = list(csv.DictReader(io.StringIO(csv_of([plain, merged]))))
    assert [row["merged_lora"] for row in rows] == ["0", "1"]
