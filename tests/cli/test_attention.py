"""``rmtscale attention``: any task, any sample; shares, files, and refusals."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from rmtscale.study.evaluation.attention import (
    AttentionMap,
    Places,
    attention_maps,
    places,
)
from rmtscale.study.evaluation.attention_samples import (
    AttentionSample,
    Pieces,
    story_sample,
    text_sample,
)
from rmtscale.study.evaluation.attention_shares import parts_inside, shares
from rmtscale.study.evaluation.evaluate import data_of
from rmtscale.study.training.checkpoint import Trained
from rmtscale.study.training.language.data import LanguageData
from rmtscale.study.training.language.settings import LanguageSettings
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.checkpoint import export_checkpoint, load_checkpoint
from rmtscale.study.training.memory_tasks.data import TaskData, class_ids
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.memory_tasks.reading import Reader
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from tests.command_line import Command
from tests.tiny_checkpoint import make_checkpoint
from tests.tiny_text import tiny_text_settings, write_text
from tests.tiny_training import tiny_settings, write_background

TASKS = ("memorize", "detect-memorize", "reasoning")


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("text"))


def settings_of(folder: Path) -> LanguageSettings:
    return tiny_text_settings(write_text(folder / "text"))


def story_checkpoint(folder: Path, background: Path, task: str) -> TaskData:
    """A checkpoint of a memory task that was never trained."""
    write_story_checkpoint(folder, tiny_settings(background, task=task, segment_size=48))
    return data_of(load_checkpoint(folder), str(background))


def write_story_checkpoint(folder: Path, settings: MemoryTaskSettings) -> None:
    data = TaskData(settings)
    answerer = Answerer(build_rmt(settings, len(data.vocabulary), 6), class_ids(data))
    trained = Trained(step=0, stage="none", segments=1)
    export_checkpoint(folder, answerer, settings, data, trained)


@pytest.mark.parametrize("task", TASKS)
def test_any_memory_task_and_sample(
    rmtscale: Command, background: Path, tmp_path: Path, task: str
) -> None:
    data = story_checkpoint(tmp_path / "checkpoint", background, task)
    given = ["attention", str(tmp_path / "checkpoint"), "--device", "cpu", "--segments", "3"]
    given += ["--background", str(background)]
    told = set()
    for number in ("0", "5"):
        done = rmtscale(*given, "--sample", number, "--format", "csv")
        assert done.code == 0, done.err
        rows = list(csv.DictReader(io.StringIO(done.out)))
        assert {row["segment"] for row in rows} == {"1", "2", "3"}
        assert {row["query"] for row in rows if row["segment"] == "3"} >= {"answer"}
        facts = {row["segment"] for row in rows if row["key"] == "fact"}
        sample = story_sample(data, 3, 44, int(number))
        assert facts == {str(at // 44 + 1) for part in sample.parts["fact"] for at in part}
        shown = " ".join(rmtscale(*given, "--sample", number).out.split())
        told.add(shown.split(" Right is")[0])
    assert len(told) == 2
    assert all(question.endswith('"') for question in told)


def test_the_facts_of_a_sample_are_facts(background: Path, tmp_path: Path) -> None:
    data = story_checkpoint(tmp_path / "checkpoint", background, "reasoning")
    coder = data.vocabulary
    facts = {" ".join(coder.decode(coder.encode(text))) for text in data.task.all_facts()}
    for number in range(5):
        sample = story_sample(data, 3, 44, number)
        spelled = data.vocabulary.decode(sample.ids.tolist())
        assert set(sample.words(spelled, "fact")) <= facts
        assert len(sample.parts["fact"]) == 2
        assert sample.answer in data.task.classes


@pytest.mark.usefixtures("unpainted")
def test_text_that_is_scored(rmtscale: Command, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    make_checkpoint(tmp_path / "checkpoint", settings, tmp_path / "cache")
    given = ["attention", str(tmp_path / "checkpoint"), "--device", "cpu", "--segments", "2"]
    given += ["--text", settings.text]
    done = rmtscale(*given, "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    assert " block " in done.out
    scored = rf"{settings.scored_tokens} tokens scored, loss \d+\.\d{{3}} nats\."
    assert re.search(scored, " ".join(done.out.split()))
    names = {"README.md", "attention.png", "attention.svg", "attention.csv"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    page = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert page.startswith(f"# What {settings.task} looks at, sample 0\n")
    again = rmtscale(*given, "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out"))
    assert (again.code, "exists already" in again.err) == (2, True)


def test_the_block_of_a_sample_is_its_end(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    data = LanguageData(settings, tmp_path / "cache")
    tokens = 2 * settings.segment_tokens
    source = data.source("validation", tokens - settings.scored_tokens)
    sample = text_sample(source, tokens, 1)
    assert sample.parts == {"block": (range(tokens - settings.scored_tokens, tokens),)}
    spelled = Pieces(data.tokenizer).decode(sample.ids.tolist())
    assert len(spelled) == tokens
    assert not any("\n" in piece for piece in spelled)


def test_shares_are_sums_over_keys() -> None:
    """In slow loops, of random attention of two layers with three heads."""
    chance = np.random.default_rng(0)
    weights = chance.random((2, 3, 12, 12)).astype(np.float32)
    weights /= weights.sum(3, keepdims=True)
    attention = AttentionMap(1, tuple("abcdefghijkl"), weights)
    where = Places([0, 1], list(range(2, 10)), [10, 11], 9)
    sample = AttentionSample(np.arange(16), {"fact": (range(6, 10),), "question": (range(15, 16),)})
    parts = parts_inside(sample, where.text, 8)
    assert parts == {"fact": [2, 3], "question": [9]}
    found = {(one.query, one.key): one for one in shares(attention, where, parts, answers=True)}
    rest = [4, 5, 6, 7, 8]
    keys = {"memory read": [0, 1], "fact": [2, 3], "question": [9], "other text": rest}
    queries = {"written memory": [10, 11], "answer": [9]}
    assert set(found) == {(query, key) for query in queries for key in keys}
    for (query, key), share in found.items():
        heads = [
            np.mean([sum(weights[layer, head, q, k] for k in keys[key]) for q in queries[query]])
            for layer in range(2)
            for head in range(3)
        ]
        assert share.most == pytest.approx(max(heads), rel=1e-5)
        assert share.mean == pytest.approx(np.mean(heads), rel=1e-5)
        assert share.even == len(keys[key]) / 12


@pytest.mark.usefixtures("unpainted")
@pytest.mark.parametrize("backbone", ["gpt-neox-tiny", "modernbert-tiny"])
def test_a_sink_is_told_apart(
    rmtscale: Command, background: Path, tmp_path: Path, backbone: str
) -> None:
    """It is in the share of no other memory, read or written."""
    more = {"backbone": backbone, "memory_tokens": 4, "segment_size": 48}
    seen = {}
    for sinks in (0, 1):
        folder = tmp_path / str(sinks)
        settings = tiny_settings(background, sink_tokens=sinks, **more)
        write_story_checkpoint(folder, settings)
        given = ["attention", str(folder), "--device", "cpu", "--segments", "1", "--format", "csv"]
        done = rmtscale(*given, "--background", str(background), "--out", str(folder / "out"))
        assert done.code == 0, done.err
        rows = csv.DictReader(io.StringIO(done.out))
        seen[sinks] = {(row["query"], row["key"]): float(row["mean_share"]) for row in rows}
    memory = "memory" if backbone == "modernbert-tiny" else "memory read"
    assert ("answer", "sink") not in seen[0]
    # The same weights: in the first segment both are the initial memory.
    parts = seen[1]["answer", "sink"] + seen[1]["answer", memory]
    assert parts == pytest.approx(seen[0]["answer", memory], abs=2e-6)
    loaded = load_checkpoint(tmp_path / "1")
    read = Reader(loaded.answerer, torch.device("cpu"))
    (shown,) = attention_maps(read, loaded.data.vocabulary, np.arange(read.model.segment_tokens))
    name = "mem" if backbone == "modernbert-tiny" else "read"
    at = shown.labels.index("[sink 0]")
    assert shown.labels[at : at + 4] == ("[sink 0]", *(f"[{name} {one}]" for one in (1, 2, 3)))
    where = places(read.model, 48)
    parts_of = [*where.sink, *where.read, *where.text, *where.special]
    assert len(where.sink) == 1
    assert len(where.read) == len(where.write) == 3
    if backbone == "gpt-neox-tiny":
        assert sorted([*parts_of, *where.write]) == [at for at in range(48) if at != 44]
    else:
        assert sorted(parts_of) == list(range(48))


def test_what_cannot_be_shown(rmtscale: Command, background: Path, tmp_path: Path) -> None:
    story_checkpoint(tmp_path / "checkpoint", background, "memorize")
    given = ["attention", str(tmp_path / "checkpoint"), "--device", "cpu"]
    told = {
        ("--show", "5"): "show '5': expected segments from 1 to 4",
        ("--segments", "20"): "20 segments: expected at most 16 in one picture",
        ("--sample", "-1"): "sample -1: expected 0 to",
        ("--text", "python"): "--text 'python': expected with a language task only",
    }
    for more, words in told.items():
        done = rmtscale(*given, *more)
        assert (done.code, words in done.err) == (2, True), done.err


def test_a_sample_that_is_not_there(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    source = LanguageData(settings, tmp_path / "cache").source("validation", 0)
    with pytest.raises(ValueError, match=r"sample 100000: expected 0 to \d+"):
        text_sample(source, settings.scored_tokens, 100_000)
