"""The recipes of a pretrained decoder for BABILong, on a tiny one of SmolLM2's kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rmtscale.study.figures.babilong.recipes import recipes
from rmtscale.study.records.babilong import BabilongStore
from rmtscale.study.tasks.babi import pool
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.training.layout import BEST, METRICS
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.metrics import read_metrics
from tests.command_line import Command
from tests.study.tasks.babi_files import write_files
from tests.tiny_llama import save_llama
from tests.tiny_training import write_background

SHORT = (
    "--steps 8 --batch-size 4 --burn-in 2 --device cpu --set segments=2 --set log_every=1 "
    "--set validate_every=8 --set validation_samples=4 --set validation_segments=[3] "
    "--set stage_min_steps=1 --set stage_max_steps=1 --set threshold=0 --set between_share=1 "
    '--set burn_in_share=1 --set current_stage_share=1 --set precision="fp32" --set short_batch=1 '
    "--set compile_step=false"
).split()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_files(tmp_path_factory.mktemp("data"))
    write_background(folder / "text")
    return folder


@pytest.fixture(autouse=True)
def few_stories(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RMTSCALE_DATA", str(data))
    monkeypatch.setattr(pool, "STORIES", {"train": 60, "validation": 20})
    pool.load_pool.cache_clear()
    yield
    pool.load_pool.cache_clear()


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text of which a tokenizer learns the words of the five tasks."""
    folder = tmp_path_factory.mktemp("words")
    task = make_task("babilong", stories=",".join(QAS))
    line = json.dumps({"text": " ".join(["", *task.all_facts(), *task.all_questions()])})
    (folder / "train.jsonl").write_text(line + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", ["", "lora-"])
def test_one_model_learns_and_is_read_on_all_five(
    rmtscale: Command, data: Path, words: Path, tmp_path: Path, kind: str
) -> None:
    backbone = save_llama(tmp_path / "smollm2", words, vocabulary=900, positions=512)
    given = ["--backbone", str(backbone), "--background", str(data / "text")]
    recipe = f"smollm2-babilong-{kind}all-0"
    trained = rmtscale(
        *("train", "--recipe", recipe, *given, *SHORT, "--out", str(tmp_path / "run"))
    )
    assert trained.code == 0, trained.err
    stages = [one.stage_name for one in read_metrics(tmp_path / "run" / METRICS)]
    assert stages == [
        *("160 tokens, no noise", "496 tokens, no noise", "1 segment", "2 segments"),
        *["2 segments, burn-in 2"] * 4,
    ]
    checkpoint = load_checkpoint(tmp_path / "run" / BEST, backbone=str(backbone))
    settings = checkpoint.settings
    assert settings.lora_rank == recipes()[recipe].lora_rank
    assert (settings.closing_questions, settings.task_options["ask_state"]) == (12, True)
    if kind:
        names = (name for name, _ in checkpoint.answerer.rmt.named_parameters())
        adapters = [name for name in names if "lora_" in name]
        assert len(adapters) == 2 * 2 * 7, "two sides of seven matrices in two layers"
    asked = "--lengths 0k,1k --samples 4 --batch-size 2 --device cpu --format json".split()
    # A checkpoint of all weights stands on none.
    given = given if kind else given[2:]
    found = rmtscale("evaluate", str(tmp_path / "run" / BEST), *given, *asked)
    assert found.code == 0, found.err
    rows = json.loads(found.out)["rows"]
    assert [(row["task"], row["length"]) for row in rows] == [
        (task, length) for length in ("0k", "1k") for task in QAS
    ]
    noted = BabilongStore(tmp_path / "run" / BEST / "babilong.jsonl").read().records[-1].training
    assert noted is not None
    assert (noted.backbone, noted.stories, noted.lora_rank) == (
        *("smollm2", ",".join(QAS), settings.lora_rank or 0),
    )


def test_a_tokenizer_that_writes_two_answers_alike_is_refused_at_once(
    rmtscale: Command, data: Path, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unused(*_: object) -> None:
        raise AssertionError("stories are drawn after that")

    pool.drawn_stories.cache_clear()
    backbone = save_llama(tmp_path / "letters", words, vocabulary=260, positions=512)
    monkeypatch.setattr(pool, "Drawer", unused)
    found = rmtscale(
        *("train", "--recipe", "smollm2-babilong-all-0", "--backbone", str(backbone)),
        *("--background", str(data / "text"), *SHORT, "--out", str(tmp_path / "run")),
    )
    assert found.code == 2
    assert "error: answers 'bathroom' and 'hallway' begin with the same token" in found.err
