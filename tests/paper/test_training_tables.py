"""Beside a language figure: what was trained for it, and how its losses went."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.study.figures.figure import REPORTS, Sources
from rmtscale.study.figures.language import runs as language_runs
from rmtscale.study.figures.language.recipes import recipes
from rmtscale.study.figures.language.training_tables import training_tables
from rmtscale.study.figures.registry import FIGURES
from rmtscale.study.figures.training_runs import TrainingSetup
from rmtscale.study.training.metrics import Interval, MetricsStore
from tests.synthetic.language import language, proof

NAME = "lean-rmt-6-0"


def interval(step: int, validation: dict[str, float] | None = None) -> Interval:
    return Interval(
        step=step,
        stage=0,
        stage_name="2 segments",
        loss=1 / 3,
        accuracy=None,
        current_stage_accuracy=None,
        learning_rate=1e-3,
        tokens=100,
        seconds=0.1,
        tokens_per_second=1000.4,
        waiting_share=0.0,
        validation=validation,
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    (folder / NAME).mkdir(parents=True)
    begun = replace(recipes()[NAME], text="/far/away/decls.jsonl.gz", init_from="/runs/start/last")
    (folder / NAME / "settings.json").write_text(begun.to_json())
    (folder / "start").mkdir()
    (folder / "start" / "settings.json").write_text(recipes()["lean-start-0"].to_json())
    store = MetricsStore(folder / NAME / "metrics.jsonl")
    for step in range(1, 11):
        store.append(interval(step, {"2": 1.23456789, "6": 1.5} if step == 3 else None))
    return folder


def test_settings_without_paths_and_the_course_of_the_loss(runs: Path) -> None:
    tables = training_tables(runs, [NAME, "not-trained"])
    settings, start = map(json.loads, tables["settings.jsonl"].splitlines())
    whole = json.loads(recipes()[NAME].to_json())
    assert settings == {
        **whole,
        "training": NAME,
        "text": "decls.jsonl.gz",
        "init_from": "start",
    }
    assert start == {"training": "start", **json.loads(recipes()["lean-start-0"].to_json())}
    rows = list(csv.DictReader(io.StringIO(tables["intervals.csv"])))
    assert [row["step"] for row in rows] == ["3", "4", "8"]  # validated, and every fourth
    assert [row["validation_loss_nats"] for row in rows] == ["2: 1.2346; 6: 1.5", "", ""]
    assert rows[0]["loss_nats"] == "0.33333"
    assert rows[0]["tokens_per_second"] == "1000"
    assert rows[0]["peak_allocated_bytes"] == ""


def test_losses_of_repeated_text_stand_apart_where_there_are_any(runs: Path) -> None:
    assert "repeated" not in training_tables(runs, [NAME])["intervals.csv"]
    store = MetricsStore(runs / NAME / "metrics.jsonl")
    again = replace(interval(11), repeated_loss=0.125, ordinary_loss=2 / 3)
    store.append(again)
    store.append(replace(again, step=12, ordinary_loss=None))
    rows = list(csv.DictReader(io.StringIO(training_tables(runs, [NAME])["intervals.csv"])))
    assert [row["repeated_loss_nats"] for row in rows] == ["", "", "", "0.125"]
    assert [row["ordinary_loss_nats"] for row in rows] == ["", "", "", ""]


def test_damaged_metrics_are_named(runs: Path) -> None:
    path = runs / NAME / "metrics.jsonl"
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(BadInput, match="metrics"):
        training_tables(runs, [NAME])


def test_reproduce_writes_them_where_it_trained(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [language()]
    monkeypatch.setattr(language_runs, "train_and_evaluate", lambda *_: made)
    figure, sources = FIGURES["figure-9"], Sources(training=TrainingSetup(folder=runs))
    with pytest.raises(BadInput, match="language-modeling"):
        figure.make(tmp_path / "other", sources)
    made[:] = [proof(count, name=NAME) for count in (1, 2)]
    figure.make(tmp_path / "out", sources)
    trainings = tmp_path / "out" / "trainings"
    assert {file.name for file in trainings.iterdir()} == {"settings.jsonl", "intervals.csv"}
    assert NAME in (trainings / "settings.jsonl").read_text()
    with pytest.raises(BadInput, match="force"):
        figure.make(tmp_path / "out", sources)


@pytest.mark.parametrize("name", ["figure-7", "figure-9", "table-1", "pretrained-decoder"])
def test_a_page_names_the_settings_that_were_run(name: str) -> None:
    """A recipe may have others: those of the pretrained decoder have more steps than were run."""
    assert (REPORTS / name / "trainings" / "settings.jsonl").is_file()
    text = " ".join((REPORTS / name / "README.md").read_text(encoding="utf-8").split())
    assert "their settings are in `trainings/settings.jsonl` beside the records" in text
    assert "has their settings" not in text
