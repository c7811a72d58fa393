"""A dead band in records of evaluations: its own identity, and old lines stay what they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rmtscale.study.records.dead_band import plain
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.language import LanguageStore
from tests.synthetic.evaluations import ENCODER, evaluation

REPORTS = Path(__file__).parents[3] / "reports"
COMMITTED = sorted(REPORTS.glob("figure-*/records.jsonl"))


def test_another_band_is_another_point(tmp_path: Path) -> None:
    store = EvaluationStore(tmp_path / "records.jsonl")
    made = [evaluation(4, 0.5, dead_band=band) for band in (0.0, 0.3, 0.5)]
    for record in made:
        store.append(record)
    assert list(store.read().latest().values()) == made
    assert len({record.point.key for record in made}) == 3
    assert plain(store.read().records) == made[:1]


def test_a_line_from_before_there_were_dead_bands(tmp_path: Path) -> None:
    record = evaluation(4, 0.5)
    line = record.to_line()
    assert "dead_band" not in json.loads(line)["point"]
    file = tmp_path / "records.jsonl"
    file.write_text(f"{line}\n")
    (read,) = EvaluationStore(file).read().records
    assert read == record
    assert read.point.dead_band == 0.0
    held = evaluation(4, 0.5, dead_band=0.3)
    assert json.loads(held.to_line())["point"]["dead_band"] == 0.3


def test_a_line_from_before_backbones_were_noted(tmp_path: Path) -> None:
    record = evaluation(4, 0.5)
    assert "trained_backbone" not in json.loads(record.to_line())
    noted = replace(record, trained_backbone=ENCODER)
    file = tmp_path / "records.jsonl"
    file.write_text(f"{record.to_line()}\n{noted.to_line()}\n")
    assert list(EvaluationStore(file).read().records) == [record, noted]


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.parent.name)
def test_committed_lines_are_written_as_they_are_read(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    language = "block_tokens" in json.loads(lines[0])["point"]
    records = (LanguageStore if language else EvaluationStore)(file).read().records
    assert [record.to_line() for record in records] == lines
    assert plain(records) == list(records)
