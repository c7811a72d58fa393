"""An option of ``reproduce`` that changes nothing of what is done is refused, by every figure.

What is done: the sources that a figure is made from, and of one that trains its recipes and how
they run. Whatever else an option fills is read by nobody.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import pytest

from rmtscale.cli.main import main
from rmtscale.study.figures.figure import Figure, Sources
from rmtscale.study.figures.registry import FIGURES
from rmtscale.study.figures.training_runs import TrainingSetup
from tests.hostile.rule import built_once

TEXTS = {"figure-9": ("lean",), "table-1": ("latex", "prose")}
NEEDED = {
    name: (
        *(f"--text={text}=S" for text in TEXTS.get(name, ("latex",)) if figure.kind.texts),
        *(["--backbone=B"] if figure.kind.pretrained else []),
    )
    for name, figure in FIGURES.items()
}
"""What a figure cannot be trained without."""
OPTIONS = (
    *("--out=other", "--force", "--records=r.jsonl", "--checkpoint=c", "--quick"),
    *("--background=prose", "--background=python", "--text=prose=P", "--text=lean=D"),
    *("--text=latex=L", "--backbone=W", "--runs=runs", "--seeds=1", "--seeds=0"),
    *("--jobs=2", "--jobs=1", "--max-seconds=43.5", "--finish-within=519", "--device=cpu"),
)
"""Each as right as it can be."""
DEFAULTS = {
    "--background=python": "--background=prose",
    "--jobs=1": "--jobs=2",
    "--seeds=0": "--seeds=1",
}
"""What is a default, and another: of no more use where nothing reads it."""


@pytest.fixture(autouse=True)
def parsed() -> Iterator[None]:
    with built_once():
        yield


class Done(Exception):
    """Stands where the work begins, with what it is."""


def stand_in(figure: Figure, folder: Path, sources: Sources, *, force: bool = False) -> NoReturn:
    """Stands in the place of ``Figure.make``."""
    setup = sources.training
    outside = (folder, force, sources.records, sources.checkpoints)
    if setup is None:
        raise Done(outside)
    if sources.checkpoints:
        raise Done((outside, setup.background, setup.backbone, setup.device))

    def trained(recipes: Mapping[str, Any], setup: TrainingSetup) -> NoReturn:
        names = ("folder", "device", "jobs", "max_seconds", "finish_within")
        raise Done((outside, dict(recipes), [getattr(setup, name) for name in names]))

    page = importlib.import_module(f"{figure.package}.page")
    with ExitStack() as stack:
        for place in ("language.runs", "memory_tasks.runs", "figure_6.page"):
            stack.enter_context(
                mock.patch(f"rmtscale.study.figures.{place}.require_trained", trained)
            )
        page.make(figure, sources)
    raise AssertionError("a figure that trains, made without its trainings")


def work(words: list[str], capsys: pytest.CaptureFixture[str]) -> object:
    """Returns what would be done; the line that refuses it, a text, where that is."""
    with (
        mock.patch("rmtscale.study.figures.figure.Figure.make", stand_in),
        mock.patch("rmtscale.cli.reproduce._make_all", lambda *a, **k: _done((a, k))),
        pytest.raises((Done, SystemExit)) as ended,
    ):
        main(["reproduce", *words])
    told = capsys.readouterr().err
    if isinstance(ended.value, Done):
        return ended.value.args[0]
    assert isinstance(ended.value, SystemExit)
    assert ended.value.code == 2, told
    return told.splitlines()[-1]


def _done(what: object) -> NoReturn:
    raise Done(what)


def names(told: str, option: str) -> bool:
    """Tells whether a refusal begins with an option as it was typed, with its value."""
    typed, _, value = option.partition("=")
    own = re.search(rf"(?<![\w.]){re.escape(value)}(?![\w.])", told)
    return told.startswith(f"error: {typed}") and own is not None


def lines(name: str) -> Iterator[list[str]]:
    """Every kind of sources that a figure can be made from."""
    if name not in FIGURES:
        yield [name]
        return
    kind = FIGURES[name].kind
    yield [name, *NEEDED[name]]
    if kind.trainings is not None:
        yield [name, "--quick"]
    if kind.store is not None:
        yield [name, "--records=own.jsonl"]
    if kind.checkpoint:
        yield [name, "--checkpoint=own"]


def test_the_lines_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("all", *FIGURES):
        for line in lines(name):
            assert not isinstance(work(line, capsys), str), line


@pytest.mark.parametrize("name", ["all", *FIGURES])
def test_no_option_is_silent(
    name: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for line in lines(name):
        plain, refused = work(line, capsys), {}
        for option in OPTIONS:
            found = work([*line, option], capsys)
            if isinstance(found, str):
                refused[option] = found
            elif option not in DEFAULTS and option not in line:
                assert found != plain, (line, option)
        for option, told in refused.items():
            # Of two that exclude each other one may be named, with its value, beside the other.
            assert option.partition("=")[0] in told, (line, option, told)
            assert any(names(told, each) for each in (option, *line[1:])), (line, option, told)
        for option, other in DEFAULTS.items():
            assert (option in refused) == (other in refused), (line, option)
