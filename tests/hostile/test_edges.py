"""Edges of what is allowed: times of 0, equal points, odd names, trainings that have only begun."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.profiler.definition import make_sweep
from rmtscale.records.mapping import Untrue, to_mapping
from rmtscale.records.measurement import Samples
from rmtscale.records.store import RecordStore
from rmtscale.report.document import make_document, read_source
from rmtscale.report.text import csv_report, markdown_report
from rmtscale.specs.huggingface import read_mapping
from rmtscale.tabular import csv_text
from rmtscale.units import parse_sizes
from tests.command_line import Command
from tests.synthetic.cpu import cpu_point, cpu_record
from tests.tiny_training import write_background

TRAINING = (
    "--segments 1 --segment-size 32 --memory-tokens 2 --backbone gpt-neox-tiny --device cpu "
    "--batch-size 4 --set log_every=2 --set validate_every=4 --set validation_samples=4 "
    "--set precision=fp32 --set vocabulary_words=120 --burn-in none"
).split()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("measured.wall_time.seconds", [-0.1, 0.2, 0.3], "wall_time.seconds: -0.1, expected 0 or"),
        ("measured.wall_time.median_seconds", 9.0, "wall_time.median_seconds: 9.0, expected 0.02"),
        ("measured.memory.peak_resident_bytes", -5, "memory.peak_resident_bytes: -5, expected 0"),
        ("measured.matmul_ceiling_flops_per_second", float("nan"), "expected a finite number"),
        ("share_of_ceiling", float("nan"), "share_of_ceiling: nan, expected a finite number"),
        ("achieved_flops_per_second", -1.0, "achieved_flops_per_second: -1.0, expected 0 or more"),
        ("predicted.flops", -1, "predicted.flops: -1, expected 0 or more"),
        ("predicted.peak_bytes", 0, "predicted.peak_bytes: 0, expected more than 0"),
    ],
)
def test_a_number_that_cannot_be_measured_is_named(
    path: str, value: object, message: str, tmp_path: Path
) -> None:
    mapping = to_mapping(cpu_record())
    place = mapping
    *outer, last = path.split(".")
    for name in outer:
        place = place[name]
    place[last] = value
    file = tmp_path / "records.jsonl"
    file.write_text(json.dumps(mapping) + "\n", encoding="utf-8")
    with pytest.raises(BadInput, match="line 1: ") as error:
        RecordStore(file).read()
    assert message in str(error.value)


def test_samples_hold_their_own_quartiles() -> None:
    right = Samples.of((0.1, 0.2, 0.4))
    assert right is not None
    with pytest.raises(Untrue, match="iqr_seconds"):
        replace(right, iqr_seconds=0.9)
    with pytest.raises(Untrue, match="expected one or more"):
        replace(right, seconds=())


def test_times_of_zero_and_equal_points_are_reported(tmp_path: Path) -> None:
    zero = cpu_record(wall_time=Samples.of((0.0, 0.0, 0.0)), matmul_ceiling_flops_per_second=0.0)
    file = tmp_path / "records.jsonl"
    lines = [zero.to_line()] * 1000 + [cpu_record(cpu_point(tokens=64)).to_line()]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    document = make_document([read_source(file)])
    assert "# " in markdown_report(document)
    assert csv_report(document).count("\n") == 1002


def test_no_sweep_multiplies_without_bound() -> None:
    grid = {"model": "pythia-14m", "tokens": list(range(1, 300)), "segment_size": [64, 128] * 50}
    with pytest.raises(BadInput, match=r"sweep of .* points: expected 10,000 or less"):
        make_sweep({"grid": [grid]})
    with pytest.raises(BadInput, match=r"method \[\]: expected one or more"):
        make_sweep({"grid": [{"model": "pythia-14m", "tokens": 64, "method": []}]})
    with pytest.raises(BadInput, match="expected 1,000,000 or less"):
        parse_sizes("1,2000000", "segments", 10**6)


def test_a_name_from_outside_is_printable_everywhere() -> None:
    name = "a\x1b[31m\u202eb|<i>\n\udcff"
    config = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 9}
    assert read_mapping(config, name).spec.name == r"a\x1b[31m\u202eb|<i> \xff"
    mapping = to_mapping(cpu_record())
    mapping["point"]["model"]["name"] = name[:-1]
    assert "\x1b" not in RecordStore.parse_line(json.dumps(mapping)).point.model.name


def test_a_cell_is_no_formula_where_that_is_asked() -> None:
    rows = [{"a": "=1+1", "b": -1, "c": "@x", "d": "x"}]
    assert csv_text(rows) == "a,b,c,d\n=1+1,-1,@x,x\n"
    assert csv_text(rows, spreadsheet=True) == "a,b,c,d\n'=1+1,-1,'@x,x\n"


def test_the_command_to_repeat_is_quoted(rmtscale: Command, tmp_path: Path) -> None:
    folder = tmp_path / "a model; ls"
    folder.mkdir()
    config = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 9}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    words = ["--methods", "full,rmt", "--tokens", "512,1k", "--out", str(tmp_path / "out")]
    done = rmtscale("compare", "-m", str(folder), *words)
    assert done.code == 0, done.err
    page = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"--model {shlex.quote(str(folder))} " in " ".join(page.split())


def test_no_reference_is_cut_in_a_narrow_terminal(
    rmtscale: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = rmtscale("cite").out
    assert "2304.11062" in shown
    assert "\u2026" not in shown


def test_a_figure_outside_its_repository_says_what_it_takes(
    rmtscale: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = rmtscale("reproduce", "figure-10")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "expected --records" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_has_only_begun(rmtscale: Command, tmp_path: Path) -> None:
    """It says when there is something to evaluate, and has a speed when that is asked for."""
    background = str(write_background(tmp_path / "background", documents=2, sentences=60))
    out = str(tmp_path / "training")
    line = ["train", "--out", out, "--background", background, *TRAINING]
    done = rmtscale(*line, "--steps", "100", "--max-seconds", "0")
    assert done.code == 0, done.err
    assert "nothing to evaluate yet: the first checkpoint is written at step 4" in done.out
    done = rmtscale("evaluate", f"{out}/best")
    assert done.code == 2
    assert "writes its first after 4 steps" in done.err
    done = rmtscale(*line, "--steps", "100", "--finish-within", "0.01")
    assert done.code == 0, done.err
    assert "done; evaluate it with" in done.out
    done = rmtscale(*line, "--finish-within", "nan")
    assert (done.code, "expected seconds" in done.err) == (2, True)
