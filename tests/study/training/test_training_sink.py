"""Trainings with sink tokens: what is trained, saved, evaluated, and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.study.evaluation.evaluate import EvaluationSettings, evaluate
from rmtscale.study.evaluation.language import LanguageEvaluation, evaluate_language
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.language import LanguageStore
from rmtscale.study.training.language.checkpoint import load_language_checkpoint
from rmtscale.study.training.layout import LAST
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.settings_file import read_settings
from tests.command_line import Command
from tests.tiny_text import tiny_text_settings
from tests.tiny_training import tiny_settings, write_background

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("noise"))


@torch.no_grad()
def assert_it_keeps_its_sink(model: Any, ids: torch.Tensor) -> None:
    """The model was trained with one sink, and with it reads another state than without."""
    rmt = model.rmt
    initial = rmt.memory.initial_ME
    assert rmt.config.sink_tokens == 1
    state = model.initial(1)
    for _ in range(3):
        state = model.step(state, ids)[0]
        assert torch.equal(state[0, 0], initial[0])
        assert (state[0, 1] - initial[1]).abs().min() > 0
    rmt.config.sink_tokens = 0
    other = model.initial(1)
    for _ in range(3):
        other = model.step(other, ids)[0]
    assert (other[0, 1] - state[0, 1]).abs().max() > 1e-6
    rmt.config.sink_tokens = 1


def test_of_text_by_options(rmtscale: Command, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = ["train", "--task", "language-modeling", "--text", str(text), "--out", str(out)]
    given += ["--backbone", "gpt-neox-tiny", "--segment-size", "32", "--memory-tokens", "2"]
    given += ["--sink-tokens", "1", "--segments", "2", "--steps", "4", "--batch-size", "4"]
    for more in ("vocabulary_size=257", "stage_steps=2", "log_every=2", "validate_every=4"):
        given += ["--set", more]
    given += ["--set", "validation_samples=4", "--set", "precision=fp32", "--device", "cpu"]
    done = rmtscale(*given)
    assert done.code == 0, done.err
    assert read_settings(out / "settings.json").sink_tokens == 1
    checkpoint = load_language_checkpoint(out / LAST)
    assert checkpoint.settings.sink_tokens == 1
    assert json.loads((out / LAST / "config.json").read_text())["sink_tokens"] == 1
    ids = torch.arange(checkpoint.predictor.segment_tokens)[None] + 5
    assert_it_keeps_its_sink(checkpoint.predictor.eval(), ids)
    asked = LanguageEvaluation(segments=(2,), samples=4, batch_size=4, text=str(text))
    store = LanguageStore(tmp_path / "records.jsonl")
    (record,) = evaluate_language(checkpoint, asked, store, device=CPU, cache=tmp_path / "cache")
    model = record.model
    assert (model.memory_tokens, model.sink_tokens, model.trained_start_segments) == (2, 1, 1)
    shown = rmtscale(
        *("evaluate", str(out / LAST), "--segments", "2", "--samples", "4", "--text", str(text))
    )
    assert "2 memory tokens (1 sink) (step 4)" in " ".join(shown.out.split())
    refused = rmtscale(*given, "--sink-tokens", "2")
    assert refused.code == 2
    assert "error: sink tokens 2 of 2 memory tokens: expected 0 to 1, so that one" in refused.err
    other = rmtscale(*given[:-2], "--sink-tokens", "0")
    assert other.code == 2
    assert "sink tokens 0: the training in" in other.err


@pytest.mark.parametrize("backbone", ["gpt-neox-tiny", "modernbert-tiny"])
def test_of_a_memory_task_with_a_burn_in(background: Path, tmp_path: Path, backbone: str) -> None:
    """The state after a burn-in has no graph; the sink is trained in the segments behind it."""
    settings = tiny_settings(background, backbone=backbone, sink_tokens=1, steps=32)
    train(settings, tmp_path / "run", device="cpu")
    checkpoint = load_checkpoint(tmp_path / "run" / LAST)
    answerer = checkpoint.answerer.eval()
    assert_it_keeps_its_sink(answerer, torch.arange(answerer.segment_tokens)[None] + 5)
    asked = EvaluationSettings(segments=(2,), samples=8, long_samples=8, batch_size=8)
    (record,) = evaluate(checkpoint, asked, EvaluationStore(tmp_path / "records.jsonl"), device=CPU)
    assert record.trained_backbone is not None
    assert record.trained_backbone.sink_tokens == record.sink_tokens == 1


def test_another_number_than_was_trained_is_refused(background: Path, tmp_path: Path) -> None:
    """Also in a checkpoint of before there were sinks, to which somebody added one."""
    folder = tmp_path / "run"
    train(tiny_settings(background, steps=4, validate_every=4), folder, device="cpu")
    for name in ("task.json", "config.json"):
        file = folder / LAST / name
        values = json.loads(file.read_text())
        place = values["settings"] if name == "task.json" else values
        assert place.pop("sink_tokens") == 0
        file.write_text(json.dumps(values))
    assert load_checkpoint(folder / LAST).settings.sink_tokens == 0
    config = folder / LAST / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sink_tokens": 1}))
    with pytest.raises(BadInput, match=r"config.json has sink_tokens 1, expected 0, with which"):
        load_checkpoint(folder / LAST)


def test_a_pretrained_backbone_with_only_memory_trained(text: Path, tmp_path: Path) -> None:
    """What is kept is what was trained; how it is kept, the settings know."""
    settings = tiny_text_settings(text, memory_only=True, sink_tokens=1)
    train(settings, tmp_path / "run", device="cpu", cache=tmp_path / "cache")
    checkpoint = load_language_checkpoint(tmp_path / "run" / LAST)
    assert checkpoint.predictor.rmt.config.sink_tokens == 1
