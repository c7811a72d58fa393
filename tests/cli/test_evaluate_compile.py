"""``rmtscale evaluate --compile``: what reads gets it, records name it, a CPU refuses it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.study.evaluation import compiling, language
from rmtscale.study.evaluation import evaluate as evaluation
from rmtscale.study.evaluation.compiling import compiles
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.language import LanguageStore
from rmtscale.study.training.language.reading import TextReader
from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint, load_checkpoint
from rmtscale.study.training.memory_tasks.reading import Reader
from tests.cli.test_attention import story_checkpoint
from tests.command_line import Command
from tests.tiny_checkpoint import make_checkpoint
from tests.tiny_text import tiny_text_settings, write_text
from tests.tiny_training import write_background

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("text"))


@pytest.fixture
def folder(background: Path, tmp_path: Path) -> Path:
    story_checkpoint(tmp_path / "checkpoint", background, "memorize")
    return tmp_path / "checkpoint"


def set_trained(folder: Path, compiled: bool) -> Checkpoint:
    """Says in a checkpoint whether its training compiled segments; the weights stay."""
    note_trained(folder, compiled)
    return load_checkpoint(folder)


def note_trained(folder: Path, compiled: bool) -> None:
    path = folder / "task.json"
    meaning = json.loads(path.read_text())
    assert meaning["settings"]["compile_step"] is not None
    meaning["settings"]["compile_step"] = compiled
    path.write_text(json.dumps(meaning))


@pytest.mark.parametrize("trained", [False, True])
def test_as_asked_else_as_trained(folder: Path, trained: bool) -> None:
    checkpoint = set_trained(folder, trained)
    assert [compiles(checkpoint, asked, CUDA) for asked in (None, True, False)] == [
        trained,
        True,
        False,
    ]
    assert [compiles(checkpoint, asked, CPU) for asked in (None, False)] == [False, False]
    with pytest.raises(BadInput, match="--compile on a CPU: expected --device cuda"):
        compiles(checkpoint, True, CPU)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize(
    ("given", "asked"), [("", None), ("--compile", True), ("--no-compile", False)]
)
def test_it_reaches_all_that_reads(
    rmtscale: Command,
    folder: Path,
    background: Path,
    monkeypatch: pytest.MonkeyPatch,
    trained: bool,
    given: str,
    asked: bool | None,
) -> None:
    """On a CPU that is taken for a GPU: it reads eagerly, and is told what a GPU would be told."""
    set_trained(folder, trained)
    told: list[bool] = []
    begin = Reader.__init__

    def noted(self: Reader, *values: Any, **more: Any) -> None:
        begin(self, *values, **more)
        told.append(self.compile_step)

    def on_a_gpu(checkpoint: Checkpoint, wanted: bool | None, device: torch.device) -> bool:
        return compiles(checkpoint, wanted, CUDA)

    monkeypatch.setattr(Reader, "__init__", noted)
    for module in (evaluation, compiling):
        monkeypatch.setattr(module, "compiles", on_a_gpu)
    wanted = trained if asked is None else asked
    words = ["evaluate", str(folder), "--segments", "4", "--samples", "4", "--device", "cpu"]
    words += ["--background", str(background), *given.split()]
    done = rmtscale(*words, "--probe", "--paired-noise")
    assert done.code == 0, done.err
    assert told == [wanted] * 2  # lengths with the probe, and paired noise
    assert (", compiled" in " ".join(done.out.split())) == wanted
    (record,) = EvaluationStore(folder / "evaluation.jsonl").read().latest().values()
    assert record.probe is not None
    assert record.point.compile_step is wanted
    (row,) = json.loads(rmtscale(*words, "--format", "json").out)["rows"]
    assert row["compile_step"] is wanted


def test_a_file_of_before_it_was_noted(
    rmtscale: Command, folder: Path, background: Path, tmp_path: Path
) -> None:
    """Goes on where nothing is asked for; what is asked for is a point of its own."""
    words = ["evaluate", str(folder), "--segments", "1,2", "--samples", "4", "--device", "cpu"]
    words += ["--background", str(background)]
    assert rmtscale(*words).code == 0
    path = folder / "evaluation.jsonl"
    made = EvaluationStore(path).read().records
    old = [replace(one, point=replace(one.point, compile_step=None)) for one in made]
    path.write_text("".join(one.to_line() + "\n" for one in old))
    assert "compile_step" not in path.read_text()
    again = rmtscale(*words)
    assert again.err.count("(in the file already)") == 2
    assert list(EvaluationStore(path).read().records) == old
    own = rmtscale(*words, "--no-compile")
    assert "(in the file already)" not in own.err
    records = EvaluationStore(path).read().records
    assert [one.point for one in records[2:]] == [one.point for one in made]
    assert rmtscale(*words, "--no-compile").err.count("(in the file already)") == 2


def test_a_cpu_refuses_it(rmtscale: Command, folder: Path) -> None:
    refused = rmtscale("evaluate", str(folder), "--compile", "--device", "cpu")
    assert refused.code == 2
    assert refused.err.endswith(
        "error: --compile on a CPU: expected --device cuda, segments are compiled there\n"
    )
    assert not (folder / "evaluation.jsonl").exists()


@pytest.mark.parametrize("trained", [False, True])
def test_text_is_read_so_too(
    rmtscale: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: bool
) -> None:
    """As asked, else as trained; a record of before it was noted stands for what is not asked."""
    text, folder = write_text(tmp_path / "documents"), tmp_path / "run" / "last"
    make_checkpoint(folder, tiny_text_settings(text), tmp_path / "run" / "text")
    note_trained(folder, trained)
    told: list[bool] = []
    begin = TextReader.__init__

    def noted(self: TextReader, *values: Any, **more: Any) -> None:
        begin(self, *values, **more)
        if more.get("cuda_graph", True):
            told.append(self.compile_step)

    monkeypatch.setattr(TextReader, "__init__", noted)
    monkeypatch.setattr(language, "compiles", lambda one, asked, _: compiles(one, asked, CUDA))
    words = ["evaluate", str(folder), "--segments", "2,3", "--samples", "4", "--batch-size", "4"]
    words += ["--text", str(text), "--device", "cpu"]
    path = folder / "evaluation.jsonl"
    for given, wanted in (("--compile", True), ("--no-compile", False), ("", trained)):
        path.unlink(missing_ok=True)
        told.clear()
        done = rmtscale(*words, *given.split())
        assert done.code == 0, done.err
        assert told[1:] == [wanted] * 2  # the first refuses what cannot be, and reads nothing
        assert (", compiled; " in " ".join(done.out.split())) == wanted
        records = LanguageStore(path).read().records
        assert [one.point.compile_step for one in records] == [wanted] * 2
    rows = json.loads(rmtscale(*words, "--format", "json").out)["rows"]
    assert [row["compile_step"] for row in rows] == [trained] * 2
    old = [replace(one, point=replace(one.point, compile_step=None)) for one in records]
    path.write_text("".join(one.to_line() + "\n" for one in old))
    assert rmtscale(*words).err.count("(in the file already)") == 2
    assert "(in the file already)" not in rmtscale(*words, "--no-compile").err
