"""What came later in records of evaluations: identities, and old lines stay what they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rmtscale.records.store import Store
from rmtscale.study.records.babilong import BabilongStore
from rmtscale.study.records.dead_band import plain, without_sink
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.language import LanguageStore
from rmtscale.study.records.line import recorded
from tests.synthetic.babilong import babilong
from tests.synthetic.evaluations import DECODER, ENCODER, evaluation
from tests.synthetic.language import language

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


@pytest.mark.parametrize("kind", ["memory task", "BABILong"])
def test_a_line_from_before_there_were_sinks(kind: str) -> None:
    """It is read, and written as it was: a record of the paper's RMT has none."""
    plain: Any = babilong("qa1", "0k", 0.5)
    sink: Any = babilong("qa1", "0k", 0.5, sink_tokens=1)
    store: Any = BabilongStore
    if kind == "memory task":
        with_sink = replace(DECODER, sink_tokens=1)
        plain, sink = (evaluation(4, 0.5, trained_backbone=one) for one in (DECODER, with_sink))
        store = EvaluationStore
    assert "sink_tokens" not in plain.to_line()
    assert '"sink_tokens":1' in sink.to_line()
    assert (plain.sink_tokens, sink.sink_tokens, evaluation(4, 0.5).sink_tokens) == (0, 1, 0)
    for record in (plain, sink):
        assert store.parse_line(record.to_line()) == record
    assert without_sink([plain, sink]) == [plain]


def test_a_line_from_before_backbones_were_noted(tmp_path: Path) -> None:
    record = evaluation(4, 0.5)
    assert "trained_backbone" not in json.loads(record.to_line())
    noted = replace(record, trained_backbone=ENCODER)
    file = tmp_path / "records.jsonl"
    file.write_text(f"{record.to_line()}\n{noted.to_line()}\n")
    assert list(EvaluationStore(file).read().records) == [record, noted]


COMPILED = (None, False, True)
KINDS: dict[str, tuple[type[Store[Any]], list[Any]]] = {
    "memory task": (EvaluationStore, [evaluation(4, 0.5, compile_step=one) for one in COMPILED]),
    "language": (LanguageStore, [language(4, compile_step=one) for one in COMPILED]),
    "babilong": (BabilongStore, [babilong("qa1", "4k", 0.5, compile_step=one) for one in COMPILED]),
}


@pytest.mark.parametrize(("kind", "made"), KINDS.values(), ids=KINDS)
def test_whether_it_was_compiled(tmp_path: Path, kind: type[Store[Any]], made: list[Any]) -> None:
    """Compiled, not compiled and not noted are three points."""
    noted = ["compile_step" in json.loads(record.to_line())["point"] for record in made]
    assert noted == [False, True, True]
    store = kind(tmp_path / "records.jsonl")
    for record in made:
        store.append(record)
    known = store.read().latest()
    assert list(known.values()) == made
    for record, asked in zip(made, COMPILED, strict=True):
        assert recorded(known, record.point, asked) == record
    old = {made[0].key: made[0]}
    for record in made[1:]:
        found = [recorded(old, record.point, asked) for asked in COMPILED]
        assert found == [made[0], None, None]


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.parent.name)
def test_committed_lines_are_written_as_they_are_read(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    language = "block_tokens" in json.loads(lines[0])["point"]
    records = (LanguageStore if language else EvaluationStore)(file).read().records
    assert [record.to_line() for record in records] == lines
    assert plain(records) == list(records)


def test_committed_lines_of_babilong_are_written_as_they_are_read() -> None:
    file = REPORTS / "babilong" / "records.jsonl"
    records = BabilongStore(file).read().records
    assert [one.to_line() for one in records] == file.read_text(encoding="utf-8").splitlines()
