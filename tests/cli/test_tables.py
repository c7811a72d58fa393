"""A table loses nothing where the terminal is narrow, and stays as it is where there is room."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from rmtscale.cli.main import main
from rmtscale.cli.output import write_table
from tests.specs.tiny_configs import TINY

LINES = [
    "estimate -m llama-3-8b -d h100 --tokens 128k --mode generate",
    "estimate -m llama-3-70b -d h100 --tokens 64k --mode train --gpus 16",
    "flops -m opt-175b --tokens 512,2M --convention all --breakdown",
    "memory -m gpt2 --tokens 1k,2M --mode train --breakdown",
    "plan -m llama-3-8b -d h100",
    "generate-cost -m qwen3-8b -d h100",
    "compare -m gpt2 --methods all --tokens 1k,1M",
    "models",
    "models --types",
    "models {folder}",
    "models {folder}/jamba.json",
    "devices",
    "cite",
]


def written(capsys: pytest.CaptureFixture[str], line: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    told = capsys.readouterr()
    assert ended.value.code == 0, told.err
    return told.out


def seen(text: str) -> Counter[str]:
    """Counts characters; spaces, rules and line ends are those of the layout."""
    return Counter(re.sub(r"[\s\u2500]", "", text))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in the folder of the files: how long its own name is says nothing of a table."""
    monkeypatch.chdir(tmp_path)
    for kind, config in TINY.items():
        (tmp_path / f"{kind}.json").write_text(json.dumps(config))
    (tmp_path / f"{'a-name-of-a-file-that-takes-a-whole-line-' * 3}.json").write_text("{}")
    return Path()


@pytest.mark.parametrize("line", LINES)
def test_a_narrow_terminal_shows_all_that_a_wide_one_does(
    line: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = line.format(folder=folder)
    monkeypatch.setenv("COLUMNS", "400")
    wide = written(capsys, line)
    for columns in (80, 50, 20):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert seen(written(capsys, line)) == seen(wide), columns


@pytest.mark.parametrize("line", LINES)
def test_nothing_but_what_needs_it_is_wider_than_80(
    line: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = written(capsys, line.format(folder=folder)).splitlines()
    assert max(map(len, lines)) <= 80


def test_every_number_of_any_table_is_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(7)
    letters = "abc\u540d\u00e9 -_."
    for _ in range(200):
        names, numbers = draw.randint(0, 3), draw.randint(1, 6)
        columns = ["".join(draw.choices(letters, k=draw.randint(0, 30))) for _ in range(names)]
        columns += ["".join(draw.choices("abc ", k=draw.randint(0, 9))) for _ in range(numbers)]
        rows = [
            [
                *("".join(draw.choices(letters, k=draw.randint(0, 60))) for _ in range(names)),
                *(f"{draw.randint(0, 10 ** draw.randint(1, 12)):,} GiB" for _ in range(numbers)),
            ]
            for _ in range(draw.randint(0, 5))
        ]
        monkeypatch.setenv("COLUMNS", str(draw.randint(5, 160)))
        write_table(columns, rows, text_columns=names)
        told = capsys.readouterr().out
        assert seen(told) == sum(
            (seen(cell) for row in [columns, *rows] for cell in row), Counter()
        )
        for row in rows:
            for cell in row[names:]:
                assert re.search(rf"(?<![\d,]){re.escape(cell.split()[0])}(?![\d,])", told)


def test_room_is_left_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    write_table(["name", "bytes"], [["a b", "1 GiB"], ["longer", "10.5 GiB"]], text_columns=1)
    told = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    rule = "\u2500" * 17
    assert told == [
        "", "name        bytes", rule, "a b         1 GiB", "longer   10.5 GiB", "",
    ]  # fmt: skip
