"""Pretrained backbones: tiny checkpoints with tokenizers of their own, saved and trained here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
)

from rmtscale.errors import BadInput
from rmtscale.study.records.evaluation import EvaluationStore, TrainedBackbone
from rmtscale.study.training.layout import BEST, LAST, METRICS
from rmtscale.study.training.loop import train
from rmtscale.study.training.lora import trained_part
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.metrics import read_metrics
from tests.command_line import Command
from tests.tiny_tokenizer import save_tokenizer
from tests.tiny_training import tiny_settings, write_background


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("text"))


def save_model(folder: Path, kind: str, *, unused: int = 0, positions: int = 64) -> None:
    folder.mkdir()
    size = save_tokenizer(folder, unused=unused)
    if kind == "gpt2":
        config = GPT2Config(
            vocab_size=size,
            n_positions=positions,
            n_embd=32,
            n_layer=2,
            n_head=2,
            bos_token_id=2,
            eos_token_id=3,
        )
        model = GPT2LMHeadModel(config)
    else:
        config = BertConfig(
            vocab_size=size,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=positions,
        )
        model = BertForSequenceClassification(config)
    model.save_pretrained(folder)


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_it_is_trained_with_its_own_tokenizer_and_weights(
    background: Path, tmp_path: Path, kind: str
) -> None:
    torch.manual_seed(0)
    save_model(tmp_path / kind, kind)
    settings = tiny_settings(
        background, backbone=str(tmp_path / kind), steps=8, segments=1, burn_in=(), start_tokens=()
    )
    kept = dict(
        (GPT2LMHeadModel if kind == "gpt2" else BertForSequenceClassification)
        .from_pretrained(tmp_path / kind)
        .named_parameters()
    )
    built = build_rmt(settings, 0, 6)
    for name, parameter in built.backbone.named_parameters():
        if not name.startswith("classifier"):  # six answers where the checkpoint had two classes
            assert torch.equal(parameter, kept[name]), name
    assert train(settings, tmp_path / "run", device="cpu").finished
    checkpoint = load_checkpoint(tmp_path / "run" / BEST)
    assert checkpoint.settings.backbone == kind
    assert checkpoint.data.vocabulary.decode([2, 3]) == ["[CLS]", "[SEP]"]
    assert checkpoint.answerer.rmt.config.backbone_config.model_type == kind


def test_weights_in_half_precision_are_trained_in_single(background: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "bert", "bert")
    half = BertForSequenceClassification.from_pretrained(tmp_path / "bert").half()
    half.save_pretrained(tmp_path / "bert")
    for rank in (None, 4):
        settings = tiny_settings(background, backbone=str(tmp_path / "bert"), lora_rank=rank)
        built = build_rmt(settings, 0, 6)
        assert {weight.dtype for weight in built.parameters()} == {torch.float32}


def test_an_encoder_s_special_ids_are_its_tokenizer_s(background: Path, tmp_path: Path) -> None:
    """A BERT's config has none of its own."""
    save_model(tmp_path / "bert", "bert", unused=5)
    settings = tiny_settings(background, backbone=str(tmp_path / "bert"))
    config = MemoryObjective(settings).learner.rmt.config
    assert (config.cls_token_id, config.sep_token_id) == (7, 8)


def test_the_recipe_of_a_pretrained_encoder(
    rmtscale: Command, background: Path, tmp_path: Path
) -> None:
    """In parts as in one, at the paper's 512 positions, its checkpoint evaluated."""
    torch.manual_seed(0)
    save_model(tmp_path / "bert", "bert", unused=5, positions=512)
    recipe = ["train", "--recipe", "pretrained-encoder-memorize-0", "--device", "cpu"]
    missing = rmtscale(*recipe, "--out", str(tmp_path / "none"))
    assert missing.code == 2
    assert "without a backbone: expected --backbone with a folder" in missing.err
    asked = [*recipe, "--backbone", str(tmp_path / "bert"), "--background", str(background)]
    asked += "--steps 6 --batch-size 2 --segments 1 --burn-in 2".split()
    for setting in (
        *("log_every=1", "validate_every=2", "validation_samples=2", "validation_segments=[2]"),
        *("stage_min_steps=1", "stage_max_steps=2", 'precision="fp32"'),
    ):
        asked += ["--set", setting]
    assert rmtscale(*asked, "--out", str(tmp_path / "whole")).code == 0
    parts = tmp_path / "parts"
    assert rmtscale(*asked, "--out", str(parts), "--max-seconds", "0").code == 0
    assert not (parts / LAST).exists()
    went_on = rmtscale("train", "--out", str(parts), "--device", "cpu")
    assert went_on.code == 0
    assert f" --backbone {tmp_path / 'bert'}" in "".join(went_on.out.splitlines())
    once, twice = (read_metrics(tmp_path / name / METRICS) for name in ("whole", "parts"))
    assert [one.outcome() for one in twice] == [one.outcome() for one in once]
    assert twice[-1].stage_name == "1 segment, burn-in 2"
    rmt = load_checkpoint(parts / LAST, backbone=str(tmp_path / "bert")).answerer.rmt
    assert rmt.segment_tokens == 499 == 512 - 10 - 3
    assert (rmt.config.cls_token_id, rmt.config.sep_token_id) == (7, 8)
    lengths = "--segments 1,3 --samples 2 --batch-size 2 --device cpu --format json".split()
    given = ["--background", str(background), "--backbone", str(tmp_path / "bert"), *lengths]
    found = rmtscale("evaluate", str(parts / LAST), *given)
    assert found.code == 0, found.err
    assert [row["tokens"] for row in json.loads(found.out)["rows"]] == [499, 1497]
    records = EvaluationStore(parts / LAST / "evaluation.jsonl").read().records
    noted = TrainedBackbone(
        name="bert",
        kind="encoder",
        pretrained=True,
        lora_rank=16,
        segment_size=512,
        memory_tokens=10,
    )
    assert [record.trained_backbone for record in records] == [noted, noted]


def test_dropout_is_a_function_of_the_step(background: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_model(tmp_path / "gpt2", "gpt2")
    settings = tiny_settings(
        background, backbone=str(tmp_path / "gpt2"), steps=8, segments=1, burn_in=()
    )
    assert build_rmt(settings, 0, 6).backbone.config.resid_pdrop > 0
    train(settings, tmp_path / "whole", device="cpu")
    torch.manual_seed(123)
    train(settings, tmp_path / "parts", device="cpu", max_seconds=0.0)
    torch.manual_seed(321)
    train(settings, tmp_path / "parts", device="cpu")
    whole, parts = (read_metrics(tmp_path / name / METRICS) for name in ("whole", "parts"))
    assert [one.outcome() for one in parts] == [one.outcome() for one in whole]


def test_a_kind_that_is_not_supported(background: Path, tmp_path: Path) -> None:
    T5Config().save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=r"is of model_type 't5': expected bert, modernbert, gpt2"):
        build_rmt(tiny_settings(background, backbone=str(tmp_path)), 10, 6)


def test_a_folder_without_weights(background: Path, tmp_path: Path) -> None:
    GPT2Config().save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="a folder with safetensors or a name on the hub"):
        build_rmt(tiny_settings(background, backbone=str(tmp_path)), 10, 6)


def test_a_position_table_that_is_too_short(background: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "bert", "bert")
    settings = tiny_settings(background, backbone=str(tmp_path / "bert"), segment_size=65)
    with pytest.raises(BadInput, match="segment size 65: expected 64 or less"):
        build_rmt(settings, 10, 6)


def test_lora_keeps_what_it_trained_beside_the_name_of_what_it_stands_on(
    rmtscale: Command, background: Path, tmp_path: Path
) -> None:
    """The checkpoint is small, gives back the same answers, and refuses other weights."""
    torch.manual_seed(0)
    for name in ("bert", "other"):
        save_model(tmp_path / name, "bert")
    settings = tiny_settings(
        background, backbone=str(tmp_path / "bert"), lora_rank=4, steps=8, segments=1, burn_in=()
    )
    before = MemoryObjective(settings).learner.state_dict()
    assert train(settings, tmp_path / "run", device="cpu").finished
    folder = tmp_path / "run" / LAST
    checkpoint = load_checkpoint(folder, backbone=str(tmp_path / "bert"))
    after = checkpoint.answerer.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    trained = {f"rmt.{name}" for name in trained_part(checkpoint.answerer.rmt.state_dict())}
    assert changed <= trained
    assert any("lora_B" in name for name in changed)
    assert "rmt.memory.initial_ME" in changed
    assert any("classifier.modules_to_save" in name for name in changed)
    assert not (folder / "model.safetensors").exists()
    task_file = folder / "task.json"
    meaning = json.loads(task_file.read_text())
    assert meaning["vocabulary"].keys() == {"kind", "digest"}, "no copy of the tokenizer"
    assert str(tmp_path) not in task_file.read_text() + (folder / "config.json").read_text()
    assert checkpoint.data.vocabulary.decode([2, 3]) == ["[CLS]", "[SEP]"]
    assert checkpoint.trained.trainable_parameters == sum(
        x.numel() for x in trained_part(checkpoint.answerer.rmt.state_dict()).values()
    )
    asked = ["evaluate", str(folder), "--samples", "2", "--segments", "1", "--device", "cpu"]
    asked += ["--background", str(background)]
    missing = rmtscale(*asked)
    assert (missing.code, "expected --backbone" in missing.err) == (2, True)
    other = rmtscale(*asked, "--backbone", str(tmp_path / "other"))
    assert (other.code, "weights of digest" in other.err) == (2, True)
    assert rmtscale(*asked, "--backbone", str(tmp_path / "bert")).code == 0
    words = tmp_path / "bert" / "tokenizer.json"
    laid_out = json.dumps(json.loads(words.read_text()), indent=3)
    words.write_text(laid_out)
    assert rmtscale(*asked, "--backbone", str(tmp_path / "bert")).code == 0
    words.write_text(
        laid_out.replace('"[PAD]": 0', '"[PAD]": 1').replace('"[UNK]": 1', '"[UNK]": 0')
    )
    changed_words = rmtscale(*asked, "--backbone", str(tmp_path / "bert"))
    assert (changed_words.code, "a tokenizer of digest" in changed_words.err) == (2, True)
    # A checkpoint of before has its tokenizer in it, and is read as ever.
    save_tokenizer(tmp_path / "bert")
    own = checkpoint.data.vocabulary.to_mapping()
    assert own["name"] == "bert"
    task_file.write_text(json.dumps({**meaning, "vocabulary": own}))
    assert rmtscale(*asked, "--backbone", str(tmp_path / "bert")).code == 0
