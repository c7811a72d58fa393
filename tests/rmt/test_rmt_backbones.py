"""Which backbones are taken, and that peft is seen through."""

from __future__ import annotations

import peft
import pytest
import torch
from transformers import GPT2Config, GPT2Model, T5Config, T5ForConditionalGeneration

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from rmtscale.rmt.families import decoder_hidden
from rmtscale.rmt.peft_layers import unwrap
from tests.rmt.tiny_models import DECODERS, ENCODERS, backbone, tokens

TARGETS = {
    "gpt2": ["c_attn"],
    "opt": ["q_proj", "v_proj"],
    "opt-projected": ["q_proj", "v_proj"],
    "gpt_neo": ["q_proj", "v_proj"],
    "gpt_neox": ["query_key_value"],
    "llama": ["q_proj", "v_proj", "lm_head"],
}


def test_what_is_no_model_with_the_right_head_is_refused_by_name() -> None:
    headless = GPT2Model(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2))
    with pytest.raises(
        BadInput, match=r"backbone GPT2Model \(model_type 'gpt2'\): expected a model"
    ):
        RMTForCausalLM(headless, RMTConfig(8, 2))
    with pytest.raises(
        BadInput, match=r"backbone GPT2LMHeadModel .*: expected one row of class logits"
    ):
        RMTForSequenceClassification(backbone("gpt2"), RMTConfig(8, 2))
    with pytest.raises(BadInput, match="backbone Linear"):
        RMTForCausalLM(torch.nn.Linear(2, 2), RMTConfig(8, 2))
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=9, d_model=8, num_layers=1, num_heads=2))
    with pytest.raises(BadInput, match=r"T5ForConditionalGeneration .* an encoder-decoder; expect"):
        RMTForCausalLM(t5, RMTConfig(8, 2))
    with pytest.raises(BadInput, match="config NoneType: expected RMTConfig"):
        RMTForCausalLM(backbone("gpt2"))
    with pytest.raises(BadInput, match="without backbone_config"):
        RMTForCausalLM(RMTConfig(8, 2))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", DECODERS)
def test_module_by_module_is_the_backbone_s_own_forward_bit_for_bit(
    kind: str, attention: str
) -> None:
    inner, ids = backbone(kind, torch.float32), tokens(2, 11)
    if kind != "gpt_neo":
        inner.set_attn_implementation(attention)
    embeds = inner.get_input_embeddings()(ids)
    # A cache copies the keys, and some processors' products of small matrices round by the layout.
    theirs = inner.base_model(input_ids=ids, use_cache=False).last_hidden_state
    assert torch.equal(decoder_hidden(inner, embeds), theirs)


@pytest.mark.parametrize("kind", DECODERS)
def test_layer_checkpointing_of_the_backbone_still_works(kind: str) -> None:
    results = []
    for checkpoint in (False, True):
        inner = backbone(kind)
        if checkpoint:
            inner.gradient_checkpointing_enable()
        model = RMTForCausalLM(inner, RMTConfig(8, 2)).train()
        model.memory.initial_ME.data.fill_(0.1)
        model(tokens(1, 12), labels=tokens(1, 12)).loss.backward()
        results.append([p.grad for p in model.parameters()])
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).abs().max() < 1e-10


@pytest.mark.parametrize("kind", DECODERS)
def test_lora_is_seen_and_trained(kind: str) -> None:
    inner = backbone(kind, torch.float32)
    model = RMTForCausalLM(inner, RMTConfig(8, 2)).eval()
    ids = tokens(2, 12)
    plain = model(ids).logits
    wrapped = peft.get_peft_model(inner, peft.LoraConfig(r=2, target_modules=TARGETS[kind]))
    model = RMTForCausalLM(wrapped, RMTConfig(8, 2))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    model.freeze_backbone()
    model.memory.reset(0.1)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or name == "memory.initial_ME" for name in trained)
    assert (model.eval()(ids).logits - plain).abs().max() > 1e-4
    model.train()(ids, labels=ids).loss.backward()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    touched = [
        name for name, p in model.named_parameters() if not p.requires_grad and p.grad is not None
    ]
    assert touched == []
    with wrapped.disable_adapter():
        off = model.eval()(ids).logits
    assert (off - model(ids).logits).abs().max() > 1e-4, "the wrapper stays valid"


@pytest.mark.parametrize("kind", ENCODERS)
def test_lora_on_encoders(kind: str) -> None:
    names = ["query", "value"] if kind == "bert" else ["Wqkv"]
    wrapped = peft.get_peft_model(
        backbone(kind, torch.float32), peft.LoraConfig(r=2, target_modules=names)
    )
    config = RMTConfig(10, 2, cls_token_id=1, sep_token_id=2)
    model = RMTForSequenceClassification(wrapped, config)
    model(tokens(2, 12), labels=torch.tensor([0, 1])).loss.backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "lora_" in name)


def test_peft_methods_that_change_the_input_are_refused() -> None:
    prompt = peft.PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    with pytest.raises(BadInput, match="peft method PROMPT_TUNING: expected one that lives in"):
        unwrap(peft.get_peft_model(backbone("gpt2", torch.float32), prompt))


def test_peft_around_the_rmt_itself() -> None:
    model = RMTForCausalLM(backbone("gpt2", torch.float32), RMTConfig(8, 2))
    wrapped = peft.get_peft_model(
        model, peft.LoraConfig(r=2, target_modules=["c_attn"], modules_to_save=["memory"])
    )
    wrapped(input_ids=tokens(1, 12), labels=tokens(1, 12)).loss.backward()
    grads = {name for name, p in wrapped.named_parameters() if p.grad is not None}
    assert any("initial_ME" in name for name in grads)
    assert any("lora_A" in name for name in grads)
