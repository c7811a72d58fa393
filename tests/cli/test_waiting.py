"""Whoever waits over two seconds is told how far it is and the time left, by every command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rmtscale.cli import waiting
from rmtscale.cli.waiting import Waiting
from rmtscale.steps import steps, watched_by
from tests.cli.test_attention import story_checkpoint
from tests.command_line import Command
from tests.synthetic.records import figure_10
from tests.tiny_training import write_background


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(waiting, "monotonic", found)
    return found


def test_lines_begin_after_two_seconds_and_come_every_ten(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with watched_by(Waiting()):
        for _ in steps(range(20), "reading"):
            clock.now += 1.5
    assert capsys.readouterr().err.splitlines() == [
        "reading: 10 %, about 27 s left",
        "reading: 45 %, about 16 s left",
        "reading: 80 %, about 6.0 s left",
    ]


def test_what_is_quick_is_not_told(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with watched_by(Waiting()):
        for _ in steps(range(19), "reading"):
            clock.now += 0.1
    assert capsys.readouterr().err == ""


def test_on_a_terminal_it_is_a_bar_that_goes_away(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with watched_by(Waiting()):
        for _ in steps(range(4), "reading"):
            clock.now += 3
    shown = capsys.readouterr().err
    assert "reading" in shown
    assert "about 9.0 s left" in shown
    assert "\x1b[2K" in shown.rpartition(" left")[2]  # the line is wiped out at the end


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("verify --model pythia-14m --tokens 64,128 --segment-size 32 --format csv", "counting"),
        ("models {configs} --format csv", "reading configs"),
        ("evaluate {checkpoint} --samples 8 --batch-size 2 --segments 1,2 {more}", "reading"),
        ("dead-band {checkpoint} --samples 32 --segments 12 {more}", "reading"),
        ("attention {checkpoint} {more}", "reading"),
        ("report {records} --format csv", "reading records"),
        ("report {records} --format csv", "predicting"),
        ("report {records} --out {out}", "drawing"),
    ],
    ids=lambda text: text.split()[0],
)
def test_every_long_command_says_how_far_it_is(
    rmtscale: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    remembered_shapes: None,
    unpainted: None,
    line: str,
    what: str,
) -> None:
    monkeypatch.setattr(waiting, "AFTER_SECONDS", 0.0)
    monkeypatch.setattr(waiting, "EVERY_SECONDS", 0.0)
    background = write_background(tmp_path / "text")
    configs = tmp_path / "configs"
    configs.mkdir()
    for name in ("one", "two"):
        config = {"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 2}
        (configs / f"{name}.json").write_text(json.dumps(config))
    if "{checkpoint}" in line:
        story_checkpoint(tmp_path / "checkpoint", background, "memorize")
    records = tmp_path / "records.jsonl"
    made = figure_10([1000, 4000])
    records.write_text("".join(one.to_line() + "\n" for one in made), encoding="utf-8")
    given = line.format(
        configs=configs,
        records=records,
        out=tmp_path / "out",
        checkpoint=tmp_path / "checkpoint",
        more=f"--background {background} --device cpu",
    )
    done = rmtscale(*given.split())
    told = [text for text in done.err.splitlines() if text.startswith(f"{what}: ")]
    assert told, done.err
    assert all(text.endswith(" left") for text in told)
