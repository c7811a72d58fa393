"""Answers in free text: the benchmark's rule, our RMTs, and any decoder of a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rmtscale.rmt import RMTConfig, RMTForCausalLM
from rmtscale.study.evaluation.free_text import answered
from rmtscale.study.tasks.babi import pool
from rmtscale.study.tasks.babi.grammar import labels
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.model import Answerer
from tests.command_line import Command
from tests.study.tasks.babi_files import write_files
from tests.tiny_tokenizer import save_tokenizer
from tests.tiny_training import tiny_settings, write_background

PLACES = labels("qa1")


@pytest.mark.parametrize(
    ("output", "question", "expected"),
    [
        ("garden", "Where is Mary?", "garden"),
        (" The most recent location of Mary is the GARDEN", "Where is Mary?", "garden"),
        ("the garden or the office", "Where is Mary?", None),
        ("garden. Not the office.", "Where is Mary?", "garden"),
        ("I do not know", "Where is Mary?", None),
        ("", "Where is Mary?", None),
        # What the question names is no answer.
        ("in the office, before the garden", "Where was the milk before the garden?", "office"),
        ("the garden", "Where was the milk before the garden?", None),
        ("office<example>garden", "Where is Mary?", "office"),
        ("gardenoffice", "Where is Mary?", None),
    ],
)  # fmt: skip
def test_the_rule(output: str, question: str, expected: str | None) -> None:
    assert answered(output, question, PLACES) == expected


def test_names_of_qa5_are_labels() -> None:
    assert answered("Fred gave it", "What did Bill give to Jeff?", labels("qa5")) == "Fred"
    assert answered("the milk to Jeff", "What did Bill give to Jeff?", labels("qa5")) == "milk"


@pytest.fixture
def files(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    write_files(folder)
    write_background(folder / "text")
    monkeypatch.setenv("RMTSCALE_DATA", str(folder))
    monkeypatch.setattr(pool, "STORIES", {"train": 60, "validation": 20})
    pool.load_pool.cache_clear()
    yield folder
    pool.load_pool.cache_clear()


def decoder(folder: Path, always: str | None, positions: int = 4096) -> Path:
    """A tiny decoder of random weights, or one that writes the same word whatever it reads."""
    folder.mkdir()
    words = save_tokenizer(folder)
    tokens = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "gpt2", vocab_size=words, n_embd=16, n_layer=1, n_head=2, n_positions=positions,
        bos_token_id=0, eos_token_id=0, pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    if always is not None:
        with torch.no_grad():
            model.transformer.ln_f.weight.zero_()
            model.transformer.ln_f.bias.fill_(1)
            model.lm_head.weight.zero_()
            model.lm_head.weight[tokens[always]] = 1
    model.save_pretrained(folder)
    return folder


def test_any_decoder_of_a_folder(rmtscale: Command, files: Path, tmp_path: Path) -> None:
    text = str(files / "text")
    given = ["--lengths", "0k,1k", "--samples", "12", "--batch-size", "4", "--device", "cpu"]
    given += ["--background", text, "--format", "json", "--stories", "qa1"]
    rows = {}
    for name, always in (("random", None), ("garden", "garden"), ("mary", "mary")):
        folder = decoder(tmp_path / name, always)
        done = rmtscale("evaluate", "--model", str(folder), *given)
        assert done.code == 0, done.err
        rows[name] = json.loads(done.out)["rows"]
    assert {row["model"] for own in rows.values() for row in own} == {"decoder"}
    numbers = [one.answer for one in pool.load_pool("qa1", "original", "test").asked]
    assert numbers.count("garden")
    alone, hidden = rows["garden"]
    # The same questions at both lengths: the same answers are right.
    assert alone["correct"] == hidden["correct"]
    assert (alone["unanswered"], hidden["unanswered"]) == (0, 0)
    assert [row["unanswered"] for row in rows["mary"]] == [12, 12]
    assert [row["correct"] for row in rows["mary"]] == [0, 0]


def test_what_a_decoder_cannot(rmtscale: Command, files: Path, tmp_path: Path) -> None:
    folder = str(decoder(tmp_path / "short", None, positions=200))
    text = str(files / "text")
    given = ["--samples", "4", "--batch-size", "2", "--device", "cpu", "--background", text]
    for words, message in (
        (["--lengths", "1k"], "expected 184 or less, what the model has positions for"),
        (["--lengths", "0k", "--answers", "classes"], "--answers 'classes' with --model: expected"),
        ([], f"--model {folder!r}: expected with --lengths only"),
        (["--lengths", "0k", "--backbone", "x"], "--backbone 'x' with --model: expected with a"),
        (["--lengths", "0k", "--compile"], "--compile with --model: expected with a checkpoint"),
        (
            ["--lengths", "0k", "--no-compile"],
            "--no-compile with --model: expected with a",
        ),
    ):
        refused = rmtscale("evaluate", "--model", folder, *words, *given)
        assert refused.code == 2, words
        assert message in refused.err
    empty = tmp_path / "empty"
    empty.mkdir()
    refused = rmtscale("evaluate", "--model", str(empty), "--lengths", "0k", *given)
    assert refused.code == 2


def test_an_rmt_of_a_folder(rmtscale: Command, files: Path, tmp_path: Path) -> None:
    """Any user's RMT reads in segments, however few positions its backbone has."""
    folder = tmp_path / "rmt"
    backbone = AutoModelForCausalLM.from_pretrained(decoder(tmp_path / "plain", None, 64))
    RMTForCausalLM(backbone, RMTConfig(segment_size=64, memory_tokens=2)).save_pretrained(folder)
    save_tokenizer(folder)
    given = ["--lengths", "1k", "--samples", "4", "--batch-size", "2", "--device", "cpu"]
    given += ["--background", str(files / "text"), "--format", "json"]
    done = rmtscale("evaluate", "--model", str(folder), *given)
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)["rows"]
    assert (row["model"], row["answers"], row["samples"]) == ("rmt", "generate", 4)


def test_a_checkpoint_trained_on_all_words_writes_its_answer(
    rmtscale: Command, files: Path, tmp_path: Path
) -> None:
    """Over the answers alone nothing else is unlearned; over all words the answer is written."""
    text, out = str(files / "text"), tmp_path / "run"
    train = (
        "--task babilong --stories qa1 --backbone gpt-neox-tiny --segment-size 84 --segments 1 "
        "--memory-tokens 2 --steps 40 --batch-size 8 --burn-in none --device cpu "
        "--learning-rate 2e-3 --set log_every=20 --set validate_every=40 "
        "--set validation_samples=8 --set vocabulary_words=300 --set start_tokens=[40] "
        "--set warmup_steps=2 --set ema_decay=0 --set whole_vocabulary=true"
    ).split()
    done = rmtscale("train", *train, "--background", text, "--out", str(out))
    assert done.code == 0, done.err
    given = ["--lengths", "0k,1k", "--samples", "20", "--batch-size", "10", "--device", "cpu"]
    given += ["--background", text, "--format", "json"]
    found = {}
    for answers in ("classes", "generate"):
        done = rmtscale("evaluate", str(out / "best"), *given, "--answers", answers)
        assert done.code == 0, done.err
        found[answers] = json.loads(done.out)["rows"]
    # Forty steps teach that an answer is a place, and both readings say the same one.
    assert [row["unanswered"] for row in found["generate"]] == [0, 0]
    assert found["generate"][0]["correct"] == found["classes"][0]["correct"]


def test_the_loss_over_all_words(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    rmt = build_rmt(settings, 120, 13)
    torch.manual_seed(0)
    ids, answers = torch.randint(0, 120, (4, 40)), torch.tensor([0, 1, 2, 12])
    ours = list(range(20, 33))
    over_classes, right = Answerer(rmt, ours)(ids, answers)
    over_words, same = Answerer(rmt, ours, whole_vocabulary=True)(ids, answers)
    assert right == same
    # More words to choose from: less likely, by about log(120 / 13) at random weights.
    assert 1 < float((over_words - over_classes).detach()) < 4
    assert make_task("babilong").classes[12] == "Jeff"
