"""What is saved is what the live model is: all methods of peft, all changes after wrapping."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from tests.grids import covering
from tests.rmt.tiny_models import ENCODERS, backbone, tokens
from tests.rmt.tiny_types import tiny_model

Model = RMTForCausalLM | RMTForSequenceClassification
LAYERS = ["q_proj", "down_proj"]
METHODS: dict[str, dict[str, Any]] = {
    "ADALORA": {"total_step": 10},
    "C3A": {"block_size": 8},
    "FOURIERFT": {"n_frequency": 20},
    "IA3": {"feedforward_modules": ["down_proj"]},
    "LN_TUNING": {"target_modules": ["input_layernorm"]},
    "MISS": {"r": 2},
    "PSOFT": {"r": 2},
    "ROAD": {"group_size": 8},
    "SHIRA": {"r": 2},
    "TRAINABLE_TOKENS": {"target_modules": ["embed_tokens"], "token_indices": [1, 3]},
    "VBLORA": {"vector_length": 8, "num_vectors": 16},
    "WAVEFT": {"n_frequency": 20},
}
"""What a method needs besides its defaults on a model as small as this."""
REFUSED = {
    "ADAPTION_PROMPT",
    "CARTRIDGE",
    "CPT",
    "MULTITASK_PROMPT_TUNING",
    "POLY",
    "PREFIX_TUNING",
    "PROMPT_TUNING",
    "P_TUNING",
    "SHADOW",
    "XLORA",
}
"""Methods that do not live in the layers."""
NOT_INSTALLED = {"ADAMSS"}
"""Needs scikit-learn."""
pytestmark = pytest.mark.filterwarnings("ignore")


def llama(tied: bool) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        LlamaConfig(
            vocab_size=19,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=tied,
        )
    )
    return model


def with_method(method: str, tied: bool) -> Any:
    chosen: Any = next(c for t, c in PEFT_TYPE_TO_CONFIG_MAPPING.items() if t.value == method)
    given = METHODS.get(method, {})
    if "target_modules" in chosen.__dataclass_fields__:
        given = {"target_modules": LAYERS, **given}
    if "modules_to_save" in chosen.__dataclass_fields__:
        given = {"modules_to_save": ["embed_tokens"], **given}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.get_peft_model(llama(tied), chosen(**given))


def train(model: Model) -> None:
    """Moves everything that is trained."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))


def assert_comes_back(model: Model, folder: Path) -> Any:
    """Saved and loaded: the same numbers under the same names, shared by the same ones."""
    model.save_pretrained(folder)
    other = type(model).from_pretrained(folder)
    ours, theirs = model.state_dict(keep_vars=True), other.state_dict(keep_vars=True)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
        assert value.dtype == theirs[name].dtype, name
        for twin in ours:
            assert (value is ours[twin]) == (theirs[name] is theirs[twin]), (name, twin)
    ids = tokens(2, 21)
    one, two = model.eval()(ids), other.eval()(ids)
    # Not bit for bit: a small matmul rounds by how its operands lie in memory.
    torch.testing.assert_close(one.logits, two.logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(one.memory, two.memory, rtol=1e-5, atol=1e-6)
    return other


@pytest.mark.parametrize(
    ("method", "tied"),
    covering(
        sorted({t.value for t in PEFT_TYPE_TO_CONFIG_MAPPING} - REFUSED - NOT_INSTALLED),
        [True, False],
    ),
)
def test_every_method_of_peft_is_frozen_right_and_comes_back(
    tmp_path: Path, method: str, tied: bool
) -> None:
    inner = with_method(method, tied)
    trained = {id(p) for p in inner.parameters() if p.requires_grad}
    assert trained
    model = RMTForCausalLM(inner, RMTConfig(16, 2))
    model.freeze_backbone()
    assert {id(p) for p in model.backbone.parameters() if p.requires_grad} == trained
    train(model)
    assert_comes_back(model, tmp_path)


@pytest.mark.parametrize("method", sorted(REFUSED - {"ADAPTION_PROMPT", "CARTRIDGE", "XLORA"}))
def test_methods_that_do_not_live_in_the_layers_are_refused_when_wrapping(method: str) -> None:
    inner = llama(True)
    chosen: Any = next(c for t, c in PEFT_TYPE_TO_CONFIG_MAPPING.items() if t.value == method)
    of_one: dict[str, dict[str, Any]] = {
        "POLY": {"target_modules": LAYERS},
        "CPT": {"cpt_token_ids": [1]},
    }
    more = of_one.get(method, {"num_virtual_tokens": 2, "num_tasks": 2})
    known = chosen.__dataclass_fields__
    given = {name: value for name, value in more.items() if name in known}
    wrapped = peft.get_peft_model(inner, chosen(task_type="CAUSAL_LM", **given))
    with pytest.raises(BadInput, match=f"peft method {method}: expected one that lives in"):
        RMTForCausalLM(wrapped, RMTConfig(16, 2))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "recipe",
    [
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["embed_tokens"]},
        {"target_modules": LAYERS, "modules_to_save": ["lm_head"]},
        {"target_modules": LAYERS, "modules_to_save": ["embed_tokens", "lm_head"]},
        {"target_modules": LAYERS, "trainable_token_indices": [3, 5]},
        {"target_modules": LAYERS, "bias": "all", "use_dora": True},
        {"target_modules": LAYERS, "init_lora_weights": "pissa"},
    ],
)
def test_the_recipes_for_new_tokens_come_back(
    tmp_path: Path, recipe: dict[str, Any], tied: bool
) -> None:
    inner = llama(tied)
    inner.resize_token_embeddings(23, mean_resizing=False)
    model = RMTForCausalLM(
        peft.get_peft_model(inner, peft.LoraConfig(r=2, **recipe)), RMTConfig(16, 2)
    )
    model.freeze_backbone()
    train(model)
    other = assert_comes_back(model, tmp_path)
    assert other.config.vocab_size == 23


def _resized(model: Model) -> None:
    model.resize_token_embeddings(27)


def _resized_inside(model: Model) -> None:
    model.backbone.resize_token_embeddings(27)


def _added(model: Model) -> None:
    model.backbone.add_adapter(peft.LoraConfig(r=2, target_modules=LAYERS))


def _wrapped_inside(model: Model) -> None:
    peft.get_peft_model(model.backbone, peft.LoraConfig(r=2, target_modules=LAYERS))


def _wrapped_around(model: Model) -> None:
    config = peft.LoraConfig(r=2, target_modules=LAYERS, modules_to_save=["memory"])
    peft.get_peft_model(model, config)


def _two_adapters_one_active(model: Model) -> None:
    config = peft.LoraConfig(r=2, target_modules=LAYERS)
    wrapped = peft.get_peft_model(model.backbone, config, adapter_name="one")
    wrapped.add_adapter("two", config)
    wrapped.set_adapter("two")


def _merged(model: Model) -> None:
    wrapped = peft.get_peft_model(model.backbone, peft.LoraConfig(r=2, target_modules=LAYERS))
    train(model)
    wrapped.merge_adapter()


def _switched_off(model: Model) -> None:
    wrapped = peft.get_peft_model(model.backbone, peft.LoraConfig(r=2, target_modules=LAYERS))
    train(model)
    wrapped.base_model.disable_adapter_layers()


def _merged_and_gone(model: Model) -> None:
    wrapped = peft.get_peft_model(model.backbone, peft.LoraConfig(r=2, target_modules=LAYERS))
    train(model)
    wrapped.merge_and_unload()


def _untied(model: Model) -> None:
    head = model.backbone.lm_head
    head.weight = torch.nn.Parameter(head.weight.detach().clone())


def _tied(model: Model) -> None:
    model.backbone.lm_head.weight = model.get_input_embeddings().weight


CHANGES: list[Callable[[Model], None]] = [
    _resized,
    _resized_inside,
    _added,
    _wrapped_inside,
    _wrapped_around,
    _two_adapters_one_active,
    _merged,
    _switched_off,
    _merged_and_gone,
    _untied,
    _tied,
]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_after_wrapping_comes_back(
    tmp_path: Path, change: Callable[[Model], None], tied: bool
) -> None:
    model = RMTForCausalLM(llama(tied), RMTConfig(16, 2))
    change(model)
    train(model)
    assert_comes_back(model, tmp_path)


@pytest.mark.parametrize("kind", ["mixtral", "gemma2", "mamba"])
def test_a_backbone_that_is_no_family_comes_back(tmp_path: Path, kind: str) -> None:
    """Experts in one tensor, scaled embeddings, a state of its own."""
    model = RMTForCausalLM(tiny_model(kind, dtype=torch.float32), RMTConfig(16, 2))
    train(model)
    assert_comes_back(model, tmp_path)


def test_weights_keep_the_dtypes_they_had(tmp_path: Path) -> None:
    model = RMTForCausalLM(llama(True), RMTConfig(16, 2))
    model.backbone.model.layers.to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    other = RMTForCausalLM.from_pretrained(tmp_path)
    ours, theirs = model.state_dict(), other.state_dict()
    assert {n: v.dtype for n, v in ours.items()} == {n: v.dtype for n, v in theirs.items()}
    double = RMTForCausalLM.from_pretrained(tmp_path, dtype="float64")
    assert {v.dtype for v in double.state_dict().values()} == {torch.float64}


@pytest.mark.parametrize("kind", ["llama", *ENCODERS])
def test_config_says_what_the_backbone_is(tmp_path: Path, kind: str) -> None:
    encoder = kind in ENCODERS
    special: dict[str, Any] = {"cls_token_id": 1, "sep_token_id": 2} if encoder else {}
    chosen: Any = RMTForSequenceClassification if encoder else RMTForCausalLM
    model = chosen(backbone(kind, torch.float32), RMTConfig(12, 2, **special))
    model.backbone.config.pad_token_id = 5
    model.config.id2label = {0: "no", 1: "yes", 2: "perhaps"}
    model.config.label2id = {"no": 0, "yes": 1, "perhaps": 2}
    model.backbone.config.problem_type = "single_label_classification"
    model.set_attn_implementation("eager")
    model.save_pretrained(tmp_path)
    other = chosen.from_pretrained(tmp_path, attn_implementation="eager")
    for one in (model, other):
        for config in (one.config, one.backbone.config):
            assert config.pad_token_id == 5
            assert config.id2label == {0: "no", 1: "yes", 2: "perhaps"}
            assert config.num_labels == 3
            assert config.problem_type == "single_label_classification"
            assert config._attn_implementation == "eager"
            assert config.hidden_size == 8
            assert config.vocab_size == 19
    assert other.config.backbone_config is other.backbone.config


def test_each_attention_that_is_asked_for_runs(tmp_path: Path) -> None:
    RMTForCausalLM(backbone("llama", torch.float32), RMTConfig(8, 2)).save_pretrained(tmp_path)
    for asked in ("eager", "sdpa"):
        model = RMTForCausalLM.from_pretrained(tmp_path, attn_implementation=asked)
        assert model.backbone.config._attn_implementation == asked
        assert model.config._attn_implementation == asked
    with pytest.raises(BadInput, match=r"expected|Specified") as caught:
        RMTForCausalLM.from_pretrained(tmp_path, attn_implementation="flash_of_genius")
    assert "\n" not in str(caught.value)


def test_what_no_config_describes_is_refused_when_wrapping() -> None:
    inner: Any = llama(False)
    inner.model.layers[0].mlp.up_proj = torch.nn.Linear(16, 16, bias=True)
    with pytest.raises(BadInput, match=r"up_proj.bias of shape \(16,\): expected that is not the"):
        RMTForCausalLM(inner, RMTConfig(16, 2))
    inner = llama(False)
    inner.model.embed_tokens = torch.nn.Embedding(29, 16)
    with pytest.raises(BadInput, match=r"embed_tokens.weight of shape \(29, 16\): expected of"):
        RMTForCausalLM(inner, RMTConfig(16, 2))
