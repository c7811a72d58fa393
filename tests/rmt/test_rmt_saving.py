"""Saved and loaded equals; what is damaged, foreign or of another version is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from tests.rmt.tiny_models import DECODERS, ENCODERS, backbone, tokens

Model = RMTForCausalLM | RMTForSequenceClassification
SPECIAL: dict[str, Any] = {"cls_token_id": 1, "sep_token_id": 2}


def assert_same(model: Model, other: Model, ids: torch.Tensor) -> None:
    ours, theirs = model.eval()(ids), other.eval()(ids)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.memory, theirs.memory)
    assert model.state_dict().keys() == other.state_dict().keys()


@pytest.mark.parametrize("memory", [0, 2])
@pytest.mark.parametrize("kind", DECODERS)
def test_decoders(tmp_path: Path, kind: str, memory: int) -> None:
    model = RMTForCausalLM(backbone(kind, torch.float32), RMTConfig(8, memory))
    model.save_pretrained(tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"config.json", "generation_config.json", "model.safetensors"}
    other = RMTForCausalLM.from_pretrained(tmp_path)
    assert_same(model, other, tokens(2, 13))
    tied = model.backbone.get_output_embeddings().weight is model.get_input_embeddings().weight
    again = other.backbone.get_output_embeddings().weight is other.get_input_embeddings().weight
    assert tied == again


@pytest.mark.parametrize("kind", ENCODERS)
def test_encoders(tmp_path: Path, kind: str) -> None:
    model = RMTForSequenceClassification(backbone(kind, torch.float32), RMTConfig(10, 2, **SPECIAL))
    model.save_pretrained(tmp_path)
    assert_same(model, RMTForSequenceClassification.from_pretrained(tmp_path), tokens(2, 13))


def test_lora_and_adapters_come_back(tmp_path: Path) -> None:
    lora = peft.LoraConfig(r=2, target_modules=["c_attn"], modules_to_save=["ln_f"])
    inner = peft.get_peft_model(backbone("gpt2", torch.float32), lora)
    model = RMTForCausalLM(inner, RMTConfig(8, 2, adapter_width=3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    other = RMTForCausalLM.from_pretrained(tmp_path)
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    ids = tokens(2, 13)
    # Not bit for bit: a small matmul rounds by how its operands lie in memory.
    assert (model.eval()(ids).logits - other.eval()(ids).logits).abs().max() < 1e-5
    assert any("lora_A" in name for name in other.state_dict())


def test_dtype_and_device_moves(tmp_path: Path) -> None:
    model = RMTForCausalLM(backbone("gpt2", torch.float32), RMTConfig(8, 2, adapter_width=2))
    model.save_pretrained(tmp_path)
    half = RMTForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert half(tokens(1, 9)).memory.dtype == torch.bfloat16
    double = half.to(torch.float64)
    assert double(tokens(1, 9)).logits.dtype == torch.float64
    meta = RMTForCausalLM.from_pretrained(tmp_path).to("meta")
    out = meta(torch.zeros(2, 9, dtype=torch.long, device="meta"))
    assert out.logits.shape == (2, 1, 19)


def test_generation_settings_come_back(tmp_path: Path) -> None:
    model = RMTForCausalLM(backbone("gpt2", torch.float32), RMTConfig(8, 2))
    model.backbone.generation_config.max_new_tokens = 7
    model.save_pretrained(tmp_path)
    assert RMTForCausalLM.from_pretrained(tmp_path).generate(tokens(1, 2)).shape[1] <= 9
    read = RMTForCausalLM.from_pretrained(tmp_path).backbone.generation_config
    assert read.max_new_tokens == 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    RMTForCausalLM(backbone("gpt2", torch.float32), RMTConfig(8, 2)).save_pretrained(tmp_path)
    return tmp_path


def change(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_another_version_is_refused(folder: Path) -> None:
    change(folder, format_version=99)
    with pytest.raises(BadInput, match="format version 99 of an RMT: expected 1"):
        RMTForCausalLM.from_pretrained(folder)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"model.safetensors is truncated or damaged") as caught:
        RMTForCausalLM.from_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_missing_foreign_and_misshapen_weights_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    memory = weights.pop("memory.initial_ME")
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(BadInput, match=r"1 missing keys, first memory.initial_ME"):
        RMTForCausalLM.from_pretrained(folder)
    save_file({**weights, "memory.initial_ME": memory, "x": memory.clone()}, file, {"format": "pt"})
    with pytest.raises(BadInput, match="1 unexpected keys, first x"):
        RMTForCausalLM.from_pretrained(folder)
    save_file({**weights, "memory.initial_ME": memory[:1].clone()}, file, {"format": "pt"})
    with pytest.raises(BadInput, match=r"weights of another shape|mismatched keys"):
        RMTForCausalLM.from_pretrained(folder)


def test_what_is_no_such_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected a folder with config.json"):
        RMTForCausalLM.from_pretrained("somebody/model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"expected model.safetensors"):
        RMTForCausalLM.from_pretrained(folder)
    change(folder, model_type="gpt2")
    with pytest.raises(BadInput, match="of model_type 'gpt2': expected 'rmt'"):
        RMTForCausalLM.from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(BadInput, match=r"this is not JSON"):
        RMTForCausalLM.from_pretrained(folder)


def test_a_checkpoint_of_the_other_model_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput):
        RMTForSequenceClassification.from_pretrained(folder)


def test_pickles_are_not_written(tmp_path: Path) -> None:
    model = RMTForCausalLM(backbone("gpt2", torch.float32), RMTConfig(8, 2))
    with pytest.raises(BadInput, match="safetensors only"):
        model.save_pretrained(tmp_path, safe_serialization=False)
