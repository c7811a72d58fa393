"""A pretrained decoder: its own tokenizer and weights; all of it trained, LoRA, memory alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rmtscale.errors import BadInput
from rmtscale.study.records.language import LORA, MEMORY, UNTOUCHED
from rmtscale.study.training.language.backbone import build_text_rmt
from rmtscale.study.training.language.checkpoint import load_language_checkpoint
from rmtscale.study.training.language.data import LanguageData
from rmtscale.study.training.language.settings import LanguageSettings
from rmtscale.study.training.layout import LAST, METRICS
from rmtscale.study.training.loop import train
from rmtscale.study.training.lora import trained_part
from rmtscale.study.training.metrics import read_metrics
from tests.command_line import Command
from tests.tiny_llama import save_llama
from tests.tiny_text import tiny_text_settings, write_text

WHAT: dict[str, dict[str, Any]] = {"lora": {"lora_rank": 2}, "memory": {"memory_only": True}}


@pytest.fixture(scope="module")
def llama(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama") / "smollm", text)


def settings_on(llama: Path, text: Path, **more: Any) -> LanguageSettings:
    return tiny_text_settings(text, backbone=str(llama), **more)


def backbone_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())


def test_all_of_it_is_trained(llama: Path, text: Path, tmp_path: Path) -> None:
    """A checkpoint has all weights, and names the backbone without its folder."""
    assert train(settings_on(llama, text), tmp_path / "run", device="cpu").finished
    kept = load_language_checkpoint(tmp_path / "run" / LAST)
    assert (kept.settings.backbone, kept.settings.trained_weights) == ("smollm", "all weights")
    assert kept.trained.trainable_parameters == kept.trained.parameters
    after = dict(kept.predictor.rmt.backbone.named_parameters())
    assert any(not torch.equal(x, after[name]) for name, x in backbone_of(llama).items())


@pytest.mark.parametrize("what", WHAT)
def test_the_trained_part_alone_is_kept(
    rmtscale: Command, llama: Path, text: Path, tmp_path: Path, what: str
) -> None:
    """It reads the same losses on its backbone, in parts as in one, and refuses other weights."""
    settings = settings_on(llama, text, **WHAT[what])
    assert train(settings, tmp_path / "run", device="cpu").finished
    train(settings, tmp_path / "parts", device="cpu", max_seconds=0.0)
    assert train(settings, tmp_path / "parts", device="cpu").finished
    whole, parts = (read_metrics(tmp_path / name / METRICS) for name in ("run", "parts"))
    assert [one.outcome() for one in parts] == [one.outcome() for one in whole]
    folder = tmp_path / "run" / LAST
    kept = load_language_checkpoint(folder, backbone=str(llama))
    rmt = kept.predictor.rmt
    part = trained_part(rmt.state_dict())
    assert not (folder / "model.safetensors").exists()
    meaning = json.loads((folder / "task.json").read_text())
    assert meaning["tokenizer"] == {"kind": "backbone", "digest": kept.tokenizer.digest}
    assert kept.trained.trainable_parameters == sum(x.numel() for x in part.values())
    assert set(part) == {"memory.initial_ME"} or what == "lora"
    before = {name: x.half().float() for name, x in backbone_of(llama).items()}
    for name, x in rmt.backbone.named_parameters():
        plain = name.replace("base_model.model.", "").replace(".base_layer", "")
        if "lora_" not in name:
            assert torch.equal(x, before[plain]), name
    asked = ["evaluate", str(folder), "--segments", "1,2", "--samples", "8", "--device", "cpu"]
    asked += ["--format", "json", "--text", str(text)]
    missing = rmtscale(*asked)
    assert (missing.code, "expected --backbone" in missing.err) == (2, True)
    other = save_llama(tmp_path / "other", text, seed=1)
    refused = rmtscale(*asked, "--backbone", str(other))
    assert (refused.code, "weights of digest" in refused.err) == (2, True)
    write_text(tmp_path / "words", words=40)
    words = save_llama(tmp_path / "of-words", tmp_path / "words")
    refused = rmtscale(*asked, "--backbone", str(words))
    assert (refused.code, "has a tokenizer of digest" in refused.err) == (2, True)
    found = rmtscale(*asked, "--backbone", str(llama))
    assert found.code == 0, found.err
    losses = [row["loss_nats_per_token"] for row in json.loads(found.out)["rows"]]
    data = LanguageData(settings, tmp_path / "cache", kept.tokenizer)
    source = data.source("validation", 16)
    for count, loss in zip((1, 2), losses, strict=True):
        (batch,) = source.batches(count * 16, 8, 8)
        ids, targets = torch.from_numpy(batch.ids), torch.from_numpy(batch.targets)
        mine = kept.predictor.token_losses(ids, targets, 16)
        assert loss == pytest.approx(float(mine.double().mean()), rel=1e-5)


def test_memory_is_what_memory_only_trains(llama: Path, text: Path, tmp_path: Path) -> None:
    settings = settings_on(llama, text, memory_only=True)
    train(settings, tmp_path / "run", device="cpu")
    kept = load_language_checkpoint(tmp_path / "run" / LAST, backbone=str(llama))
    assert kept.settings.trained_weights == MEMORY
    assert kept.trained.trainable_parameters == 2 * 36
    begun = build_text_rmt(settings, kept.tokenizer).memory.initial_ME
    after = kept.predictor.rmt.memory.initial_ME
    assert begun is not None
    assert after is not None
    assert not torch.equal(begun, after)


def test_untouched_is_the_pretrained_model(llama: Path, text: Path, tmp_path: Path) -> None:
    """One step at a rate below what half precision keeps: Transformers' own loss, to the bit."""
    settings = settings_on(
        llama,
        text,
        memory_tokens=0,
        segments=1,
        lora_rank=1,
        steps=1,
        learning_rate=1e-9,
        block_tokens=12,
    )
    assert settings.trained_weights == UNTOUCHED
    train(settings, tmp_path / "run", device="cpu")
    kept = load_language_checkpoint(tmp_path / "run" / LAST, backbone=str(llama))
    added = {n: x for n, x in kept.predictor.rmt.named_parameters() if "lora_B" in n}
    assert added
    assert all(not x.any() for x in added.values())
    model = AutoModelForCausalLM.from_pretrained(llama)
    model.load_state_dict({name: x.half().float() for name, x in model.state_dict().items()})
    ids = torch.from_numpy(np.arange(40).reshape(2, 20) + 100)
    targets = ids + 1
    with torch.no_grad():
        logits = model(ids).logits[:, -12:].double().log_softmax(-1)
    wanted = -logits.gather(2, targets[:, -12:, None])[..., 0]
    found = kept.predictor.token_losses(ids, targets, 12)
    assert torch.allclose(found.double(), wanted, rtol=1e-5)
    longer = settings_on(llama, text, lora_rank=1, learning_rate=1e-9)
    assert longer.trained_weights == UNTOUCHED
    assert settings_on(llama, text, lora_rank=1).trained_weights == LORA


@pytest.mark.parametrize(
    "more", [{"lora_rank": 2}, {"adapter_width": 4}, {"memory_tokens": 0, "segments": 1}]
)
def test_memory_only_with_something_else(llama: Path, text: Path, more: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"memory only with .*: expected memory, and neither of"):
        settings_on(llama, text, memory_only=True, **more)


def test_the_command_trains_memory_alone(
    rmtscale: Command, llama: Path, text: Path, tmp_path: Path
) -> None:
    asked = ["train", "--task", "language-modeling", "--backbone", str(llama), "--text", str(text)]
    asked += "--memory-only --segments 1 --segment-size 20 --steps 2 --batch-size 2".split()
    asked += ["--device", "cpu", "--out", str(tmp_path / "run")]
    for setting in ("log_every=1", "validate_every=1", "validation_samples=2", "stage_steps=1"):
        asked += ["--set", setting]
    done = rmtscale(*asked)
    assert done.code == 0, done.err
    kept = load_language_checkpoint(tmp_path / "run" / LAST, backbone=str(llama))
    assert kept.settings.trained_weights == MEMORY
