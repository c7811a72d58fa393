"""The page: everything in one file, nothing from outside, and true whatever the file holds."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
from xml.etree.ElementTree import fromstring

import pytest

from rmtscale.errors import BadInput
from rmtscale.records.mapping import from_mapping
from rmtscale.records.point import Point
from rmtscale.records.record import Record
from rmtscale.records.store import Reading
from rmtscale.report import gallery
from rmtscale.report.document import Document, Source, make_document
from rmtscale.report.gallery import EXHIBITS, Picture, draw_all
from rmtscale.report.page import render_page
from rmtscale.report.text import csv_report, markdown_report
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.catalog import PRESETS
from tests.command_line import Command
from tests.conftest import Here
from tests.grids import THOROUGH
from tests.synthetic.records import MACHINE, environment, figure_10, inference, point, record

EMPTY = [Picture(one.name, one.title, one.caption, one.missing) for one in EXHIBITS]


def page(records: list[Record], pictures: list[Picture] = EMPTY) -> str:
    return render_page(made_of(records), pictures)


def made_of(records: list[Record]) -> Document:
    return make_document([Source("made.jsonl", Reading(tuple(records)))])


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """Painted once for all that look at them: that takes the time."""
    return draw_all(made_of(figure_10()).groups)


def test_everything_is_in_it(pictures: list[Picture]) -> None:
    text = page(figure_10(), pictures)
    images = [unquote(one) for one in re.findall(r'src="data:image/svg\+xml,([^"]*)"', text)]
    assert [fromstring(one).tag for one in images] == ["{http://www.w3.org/2000/svg}svg"] * len(
        EXHIBITS
    )
    for words in (
        "smaller at every length measured and faster from a length between 1,000 and 2,000",
        "out of memory",
        MACHINE,
        "torch 2.11.0",
        "0" * 40,
        "2025-01-01 00:00:00",
        "rmtscale profile --model gpt2",
        "A/A",
    ):
        assert words in text


def test_nothing_comes_from_outside(pictures: list[Picture]) -> None:
    text = page(figure_10(), pictures)
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert "default-src 'none'" in text
    assert "@import" not in text


def test_the_same_records_give_the_same_files(
    pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third is painted once more, in this process alone; all of them in ``make verify``."""
    some = slice(None, None, 1 if THOROUGH else 3)
    monkeypatch.setattr(gallery, "EXHIBITS", EXHIBITS[some])
    monkeypatch.setattr(gallery, "pool", Here)
    assert draw_all(made_of(figure_10()).groups) == pictures[some]


def test_what_a_record_says_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    one = record(point(), environment=environment(gpu=evil), outcome="crashed", error=evil)
    text = page([one, record(point(tokens=2000), environment=environment(gpu=evil))])
    assert evil not in text
    assert "&lt;script&gt;alert(1)" in text
    document = make_document([Source("a|b.jsonl", Reading((one,)))])
    assert evil not in markdown_report(document).split("## ", 1)[1]


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([record(point())], "One point only"),
        ([record(point())], "RMT against full attention is not measured"),
        ([record(point(method="rmt"))], "full attention against RMT is not measured"),
        (
            [record(point(), outcome="crashed", error="killed by SIGKILL", event_time=None)],
            "no point ran to its end",
        ),
        ([record(point(), outcome="timeout", error="no answer")], "no answer"),
        ([*figure_10([1000]), *figure_10([1000], gpu="Other GPU")], "2 machines or versions"),
        ([record(point()), record(point(precision="bf16"))], "gpt2, training, bf16"),
    ],
)
def test_whatever_the_file_holds_the_page_says_so(records: list[Record], words: str) -> None:
    text = page(records)
    assert words in text
    assert "None" not in re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.S)
    assert "nan" not in re.findall(r'data-n="([^"]*)"', text)
    document = make_document([Source("made.jsonl", Reading(tuple(records)))])
    assert words in markdown_report(document) or "no answer" in words
    assert len(csv_report(document).splitlines()) == len(records) + 1


def test_no_records_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"records 'made.jsonl': hold none"):
        page([])


def test_torn_lines_are_said() -> None:
    reading = Reading((record(point()),), damaged_lines=(3,), torn=True)
    document = make_document([Source("made.jsonl", reading)])
    assert any("skipped 1 damaged lines" in one for one in document.remarks)
    assert any("torn line" in one for one in document.remarks)


def test_more_settings_than_are_drawn() -> None:
    records = [record(point(batch_size=size)) for size in (1, 2, 4, 8, 16)]
    document = make_document([Source("made.jsonl", Reading(tuple(records)))])
    assert any(one.startswith("Drawn: the 4 settings") for one in document.remarks)
    assert len(document.verdicts) == 5


def test_files_of_one_name_are_told_apart() -> None:
    sources = [
        Source("run.jsonl", Reading(tuple(figure_10([1000], slower=factor)))) for factor in (1, 2)
    ]
    document = make_document(sources)
    assert [source.name for source in document.sources] == ["run.jsonl (1)", "run.jsonl (2)"]
    assert len(document.groups) == 2
    assert document.tables[0].name == "comparison"


def test_the_commands_measure_the_same_points(rmtscale: Command) -> None:
    import json
    import shlex

    # One of every option that a point can have.
    odd = [
        record(replace(point(), dropout=False, checkpoint_layers=True)),
        record(point(method="rmt", checkpoint_segments=True, memory_limit_bytes=3 * 1024 + 512)),
        record(point(method="rmt", bptt_segments=2, precision="bf16", optimizer="sgd")),
        record(point(accumulate=4, adapter=Adapter("lora", 8, "all"), precision="amp-bf16")),
        record(point(tokens=500, adapter=Adapter("parallel"))),
        record(point(tokens=500, offload_optimizer=True, host_memory_bytes=32 * 2**30)),
    ]
    # Segments that cannot be captured, where nothing reads whether they are to be, and some
    # that can.
    for model, attention, logits in (
        ("bert-base-cased", "sdpa", None),
        ("gpt-neo-125m", "eager", "last"),
        ("gpt2", "sdpa", "last"),
    ):
        given = {"model": PRESETS[model], "attention": attention, "logits": logits}
        odd.append(record(point(method="rmt", mode="forward", tokens=300, **given)))
    records = [*figure_10([1000, 2000]), *inference([4000, 16000]), *odd]
    document = make_document([Source("made.jsonl", Reading(tuple(records)))])
    again = set()
    for line in document.repeat:
        done = rmtscale(*shlex.split(line)[1:], "--dry-run", "--format", "json")
        assert done.code == 0, done.err
        again |= {
            from_mapping(Point, row["point"]).key
            for row in json.loads(done.out)["rows"]
            if not row["point"]["replicate"]
        }
    assert again == {one.point.key for one in records if not one.point.replicate}


def test_numbers_of_the_page_are_those_of_the_csv(tmp_path: Path) -> None:
    import pandas as pd

    path = tmp_path / "records.csv"
    document = make_document([Source("made.jsonl", Reading(tuple(figure_10())))])
    path.write_text(csv_report(document), encoding="utf-8")
    frame = pd.read_csv(path)
    (points,) = [table for table in document.tables if table.name == "points"]
    seconds = {row[3].number for row in points.rows} - {None}
    assert seconds == set(frame[frame["replicate"] == 0]["step_seconds"].dropna())


def test_what_is_not_compared_says_why_and_what_would_measure_it() -> None:
    """Full attention with the logits of every token is no rival of an RMT with the last ones."""
    records = [one for one in inference() if one.point.logits == "all" or one.point.method == "rmt"]
    assert {one.point.logits for one in records} == {"all", "last"}
    text = page(records)
    assert 'colspan="2">not compared: full attention forms the logits of every token<' in text
    (line,) = re.findall(r"^.*rmtscale profile .* --logits last .*$", text, flags=re.M)
    assert "--methods full" in line
    assert 'id="equal-work"' not in page(figure_10())
