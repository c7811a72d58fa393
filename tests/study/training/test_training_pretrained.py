"""Pretrained backbones: tiny checkpoints with tokenizers of their own, saved and trained here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
)

from rmtscale.errors import BadInput
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.training.layout import BEST
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from tests.tiny_training import WORDS, tiny_settings, write_background


def save_tokenizer(folder: Path, *, without: str = "") -> int:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *make_task("memorize").words()]
    words += [f"w{index}" for index in range(WORDS)]
    words = [word for word in dict.fromkeys(words) if word != without]
    # Capitals as they stand in the stories: this tokenizer keeps them.
    words += sorted({word.capitalize() for word in words if word.isalpha()} - set(words))
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(words)


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("text"))


def save_model(folder: Path, kind: str) -> None:
    folder.mkdir()
    size = save_tokenizer(folder)
    if kind == "gpt2":
        config = GPT2Config(
            vocab_size=size,
            n_positions=64,
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
            max_position_embeddings=64,
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


def test_dropout_is_a_function_of_the_step(background: Path, tmp_path: Path) -> None:
    from rmtscale.study.training.layout import METRICS
    from rmtscale.study.training.metrics import read_metrics

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
