"""``rmtscale report``: a folder, Markdown, CSV, two files; one line for what is wrong."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from rmtscale.records.record import Record
from tests.command_line import Command
from tests.synthetic.records import figure_10


def written(path: Path, records: Sequence[Record]) -> str:
    path.write_text("".join(one.to_line() + "\n" for one in records), encoding="utf-8")
    return str(path)


@pytest.fixture
def made(tmp_path: Path) -> str:
    return written(tmp_path / "made.jsonl", figure_10([1000, 4000, 8000]))


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The records, and what a process of its own said that wrote them as a folder, ``out``."""
    folder = tmp_path_factory.mktemp("painted")
    records = written(folder / "made.jsonl", figure_10([1000, 4000, 8000]))
    code = (
        "import sys\nfrom rmtscale.cli.main import main\n"
        f"try:\n    main(['report', {records!r}, '-o', {str(folder / 'out')!r}])\n"
        "except SystemExit as leaving:\n    assert not leaving.code\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Path(records), done.stdout, done.stderr


def test_no_torch_is_loaded(painted: tuple[Path, str, str]) -> None:
    _, said, _ = painted
    assert said.splitlines()[-1] == "False False"


def test_a_folder_is_written_once_or_anew_as_a_whole(
    rmtscale: Command, painted: tuple[Path, str, str], tmp_path: Path, unpainted: None
) -> None:
    made, said, warned = painted
    out = made.parent / "out"
    assert all(line.endswith(" left") for line in warned.splitlines())  # on a busy machine
    assert "RMT 500 is smaller" in " ".join(said.split())
    names = {path.name for path in out.iterdir()}
    assert {"index.html", "records.csv", "memory.png", "memory.svg", "exponents.svg"} <= names
    assert "speed-up.png" in names
    assert (out / "memory.png").read_bytes().startswith(b"\x89PNG")
    again = rmtscale("report", str(made), "-o", str(out))
    assert again.code == 2
    assert "exists already, expected --force" in again.err
    # With other records, what they do not show is no longer there.
    only_full = [one for one in figure_10([1000]) if one.point.method == "full"]
    single = written(tmp_path / "single.jsonl", only_full)
    assert rmtscale("report", single, "-o", str(out), "--force").code == 0
    assert not (out / "speed-up.png").exists()
    assert "nowhere both measured" in (out / "index.html").read_text(encoding="utf-8")


def test_markdown(rmtscale: Command, made: str, tmp_path: Path) -> None:
    done = rmtscale("report", made, "--format", "markdown")
    assert done.out.startswith("# Full attention or RMT: gpt2 on Synthetic GPU 80GB\n")
    assert "| setting | RMT | smaller from, tokens |" in done.out
    out = tmp_path / "out"
    assert rmtscale("report", made, "--format", "markdown", "-o", str(out)).code == 0
    assert (out / "report.md").read_text(encoding="utf-8") == done.out


def test_csv(rmtscale: Command, made: str) -> None:
    rows = list(csv.DictReader(io.StringIO(rmtscale("report", made, "--format", "csv").out)))
    assert len(rows) == 10
    assert {row["file"] for row in rows} == {"made.jsonl"}
    assert float(rows[0]["step_seconds"]) > 0


def test_two_files_are_compared(rmtscale: Command, made: str, tmp_path: Path) -> None:
    other = written(tmp_path / "other.jsonl", figure_10([1000, 4000], slower=2.0))
    rows = list(csv.DictReader(io.StringIO(rmtscale("report", made, other, "--format", "csv").out)))
    assert len(rows) == 6
    assert all(float(row["step_seconds_ratio"]) > 1.3 for row in rows)
    assert {row["step_seconds_outside_noise"] for row in rows} == {"True"}
    said = rmtscale("report", made, other, "--format", "markdown").out
    assert "## A against B" in said
    assert "A: made.jsonl | B: other.jsonl" in said
    assert "3 points are only in A." in said


def test_parts_of_a_sweep_are_put_together(rmtscale: Command, tmp_path: Path) -> None:
    records = figure_10([1000, 2000, 4000])
    parts = [written(tmp_path / f"{one}.jsonl", records[one::2]) for one in range(2)]
    whole = written(tmp_path / "whole.jsonl", records)
    together, alone = (
        list(csv.DictReader(io.StringIO(rmtscale("report", *files, "--format", "csv").out)))
        for files in (parts, [whole])
    )
    without = [{**row, "file": ""} for row in together]
    assert sorted(map(str, without)) == sorted(str({**row, "file": ""}) for row in alone)
    said = rmtscale("report", *parts, "--format", "markdown").out
    assert "A against B" not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.jsonl", "-o", "x"], "error: records 'nowhere.jsonl': no such file"),
        (["{made}"], "error: no --out: expected a folder for the page"),
        (["{made}", "--format", "pdf"], "error: format 'pdf': expected one of html, markdown, csv"),
        (["{empty}", "-o", "x"], "error: records 'empty.jsonl': hold none"),
    ],
)
def test_bad_input_is_one_line(
    rmtscale: Command, made: str, tmp_path: Path, arguments: list[str], words: str
) -> None:
    empty = written(tmp_path / "empty.jsonl", [])
    done = rmtscale("report", *(one.format(made=made, empty=empty) for one in arguments))
    assert done.code == 2
    assert done.err.startswith(words)
    assert done.err.count("\n") == 1


def test_a_torn_line_is_a_warning(rmtscale: Command, made: str, tmp_path: Path) -> None:
    with Path(made).open("a", encoding="utf-8") as file:
        file.write('{"schema_version": 1, "poi')
    done = rmtscale("report", made, "--format", "csv")
    assert done.code == 0
    assert done.err == "warning: made.jsonl: skipped 1 torn line at the end\n"
