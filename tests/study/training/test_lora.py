"""LoRA stands where it is said to: in a text decoder's attention, in every matrix of a learner."""

from __future__ import annotations

import pytest
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, OPTConfig
from transformers.pytorch_utils import Conv1D

from rmtscale.study.training.backbone import SIZES, from_config, small_config
from rmtscale.study.training.lora import with_lora

DECODERS = ["gpt2-tiny", "gpt-neo-tiny", "gpt-neox-tiny", "llama", "opt"]
ATTENTION = {
    "gpt2-tiny": ["attn.c_attn"],
    "gpt-neo-tiny": ["attn.attention.q_proj", "attn.attention.v_proj"],
    "gpt-neox-tiny": ["attention.query_key_value"],
    "llama": ["self_attn.q_proj", "self_attn.v_proj"],
    "opt": ["self_attn.q_proj", "self_attn.v_proj"],
}


def decoder(name: str) -> nn.Module:
    if name in SIZES:
        return from_config(small_config(SIZES[name], 40, 32), encoder=False)
    common = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(**common) if name == "llama" else OPTConfig(ffn_dim=24, **common)
    module: nn.Module = AutoModelForCausalLM.from_config(config)
    return module


def adapted(backbone: nn.Module) -> set[str]:
    """Matrices with LoRA, by the name that they had before."""
    before = "base_model.model."
    return {
        name.removeprefix(before)
        for name, module in backbone.named_modules()
        if hasattr(module, "lora_A") and module.lora_A
    }


@pytest.mark.parametrize("name", DECODERS)
def test_every_matrix_of_the_layers(name: str) -> None:
    plain = decoder(name)
    head = plain.get_output_embeddings()  # type: ignore[operator]
    matrices = {
        own
        for own, module in plain.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    assert len(matrices) >= 8
    wrapped = with_lora(decoder(name), 2, every_matrix=True)
    assert adapted(wrapped) == matrices
    assert {own for own, x in wrapped.named_parameters() if x.requires_grad} == {
        f"base_model.model.{own}.lora_{side}.default.weight" for own in matrices for side in "AB"
    }


@pytest.mark.parametrize("name", DECODERS)
def test_the_attention_alone_by_default(name: str) -> None:
    found = adapted(with_lora(decoder(name), 2))
    assert len(found) == 2 * len(ATTENTION[name])
    assert all(own.endswith(tuple(ATTENTION[name])) for own in found)
