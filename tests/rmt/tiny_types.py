"""A tiny random model of every causal type and of the encoders that Transformers has.

A config comes from ``tests/specs/tiny`` where there is one. Otherwise the fields of the config
class are made small by their names, part by part where a config has parts; ``ODD`` has what a type
needs besides.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import transformers
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from tests.specs.tiny_configs import TINY

CAUSAL: dict[str, str] = {
    kind: name for kind, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items() if kind != "rmt"
}
"""``model_type`` and class of all causal language models but our own, which is registered there."""
CLASSIFIERS: dict[str, str] = dict(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
VOCABULARY = 101

_SMALL: dict[tuple[str, ...], int] = {
    ("hidden_size", "n_embd", "d_model", "dim", "emb_dim", "embed_dim", "dim_model"): 32,
    ("embedding_size", "input_embedding_size", "output_embedding_size"): 32,
    ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"): 2,
    ("encoder_layers", "num_decoder_layers", "num_encoder_layers", "depth", "num_blocks"): 2,
    ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"): 4,
    ("encoder_attention_heads", "num_encoder_attention_heads", "num_decoder_attention_heads"): 4,
    ("num_key_value_heads",): 2,
    ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "dim_ff", "decoder_ffn_dim"): 48,
    ("encoder_ffn_dim", "ffn_hidden_size"): 48,
    ("vocab_size", "text_vocab_size", "vocab_size_per_layer_input"): VOCABULARY,
    ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"): 64,
    ("max_target_positions", "max_source_positions"): 64,
    ("moe_intermediate_size", "shared_expert_intermediate_size"): 24,
    ("shared_experts_intermediate_size", "expert_hidden_dim", "shared_intermediate_size"): 24,
    ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"): 4,
    ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk"): 2,
    ("head_dim", "global_head_dim", "kv_channels"): 8,
    ("q_lora_rank",): 12,
    ("kv_lora_rank",): 16,
    ("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "index_head_dim"): 8,
    ("index_n_heads", "n_group", "topk_group"): 2,
    ("sliding_window", "local_attention"): 6,
    ("mamba_d_state", "state_size", "ssm_state_size"): 8,
    ("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"): 4,
    ("mamba_d_head", "mamba_head_dim"): 16,
    ("mamba_d_ssm",): 64,
    ("mamba_chunk_size", "chunk_size"): 8,
    ("linear_num_key_heads", "linear_num_value_heads"): 2,
    ("linear_key_head_dim", "linear_value_head_dim"): 8,
    ("hidden_size_per_layer_input", "laurel_rank", "gated_norm_rank", "rotary_dim"): 8,
    ("image_size",): 16,
    ("patch_size",): 8,
    ("num_global_layers",): 1,
    ("attention_head_size",): 8,
}
_SIZES = {name: size for names, size in _SMALL.items() for name in names}

_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
_AS_DECODERS = (
    "bert bert-generation big_bird camembert data2vec-text electra ernie megatron-bert reformer "
    "rembert roberta roberta-prelayernorm roc_bert roformer xlm-roberta xlm-roberta-xl xmod"
).split()
ODD: dict[str, dict[str, Any]] = {kind: {"is_decoder": True} for kind in _AS_DECODERS}
"""What a type needs besides."""
ODD["cohere_compass_text"] = {
    "rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}
}
ODD["deepseek_v4"] = {"o_lora_rank": 8, "index_topk": 4}
ODD["dots1"] = {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1}
ODD["electra"] |= {"embedding_size": 64}
ODD["gemma3n_text"] = {"num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.0, 0.0]}
ODD["gemma4_assistant"] = {"text_config": {"hidden_size_per_layer_input": 0}}
ODD["granitemoehybrid"] = {"layer_types": ["mamba", "attention", "mamba"]}
ODD["hunyuan_v1_dense"] = ODD["hunyuan_v1_moe"] = {"head_dim": 8}
ODD["lfm2_moe"] = {"layer_types": ["conv", "full_attention"]}
ODD["moshi"] = {"audio_vocab_size": VOCABULARY}
ODD["reformer"] |= {"axial_pos_embds": False, "attn_layers": ["local", "local"]}
ODD["roc_bert"] |= {"pronunciation_vocab_size": 11, "shape_vocab_size": 11}
ODD["roc_bert"] |= {"pronunciation_embed_dim": 8, "shape_embed_dim": 8}
ODD["xlm"] = {"causal": True}
ODD["xmod"] |= {"default_language": "en_XX"}
ODD["zamba"] = {"layer_types": ["mamba", "hybrid"]}
ODD["zamba2"] = {"layer_types": ["mamba", "hybrid"]}
ODD["esm"] = {"vocab_size": VOCABULARY, "pad_token_id": 1, "mask_token_id": 4}
ODD["layoutlmv3"] = {"input_size": 16, "coordinate_size": 4, "shape_size": 8}
ODD["lilt"] = {"hidden_size": 48}
ODD["luke"] = {"entity_vocab_size": 11, "entity_emb_size": 8}
ODD["zaya"] = {"num_experts_per_tok": 1}


_AT_WORK = {
    "final_logit_softcapping": 1.5,
    "logits_soft_cap": 1.5,
    "logits_scaling": 0.3,
    "logit_scale": 3.0,
    "lm_head_multiplier": 3.0,
}
"""What is done to logits, strong enough to be seen at the size of random ones."""


def _names(kind: type[PreTrainedConfig]) -> dict[str, Any]:
    """The fields of a config class with their defaults; of one that has to be given some, 1."""
    try:
        made: dict[str, Any] = kind().to_dict()
    # A config class may raise anything about its own defaults; its fields' names say enough.
    except Exception:  # noqa: BLE001
        made = {name: 1 for part in kind.__mro__ for name in vars(part).get("__annotations__", {})}
    return made


def tiny_values(kind: type[PreTrainedConfig], given: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of a small config of a class."""
    name = kind.model_type
    given = {**ODD.get(name, {}), **given}
    if name in TINY:
        return {**copy.deepcopy(TINY[name]), **given}
    small: dict[str, Any] = {}
    fields = _names(kind)
    for field, value in fields.items():
        if isinstance(value, int) and not isinstance(value, bool):
            if field in _SIZES:
                small[field] = _SIZES[field]
            elif field.endswith(("_token_id", "_token_index")):
                small[field] = 1
    if "qk_rope_head_dim" in small:
        small.pop("head_dim", None)
        small["num_key_value_heads"] = small["num_attention_heads"]
    for field, part in kind.sub_configs.items():
        if field in fields and isinstance(part, type):
            own = fields[field] if isinstance(fields[field], dict) else {}
            inner: Any = part
            if part is AutoConfig:
                named = own.get("model_type")
                # Its own get looks at what is loaded only.
                inner = CONFIG_MAPPING[named] if named in CONFIG_MAPPING else None  # noqa: SIM401
            if inner is not None:
                small[field] = tiny_values(inner, given.pop(field, {}))
                small[field].setdefault("model_type", inner.model_type)
    return {**small, **given}


def tiny_config(kind: str, **given: Any) -> PreTrainedConfig:
    """A small config of a type."""
    values = tiny_values(CONFIG_MAPPING[kind], given)
    values.pop("model_type", None)
    values.pop("architectures", None)
    return CONFIG_MAPPING[kind](**values)


def tiny_model(
    kind: str, class_name: str | None = None, dtype: torch.dtype = torch.float64, **given: Any
) -> PreTrainedModel:
    """A random model whose weights are large enough to matter; of a causal type by default."""
    if class_name is not None and "is_decoder" in ODD.get(kind, {}):
        given = {"is_decoder": False, **given}
    if class_name is not None and "causal" in ODD.get(kind, {}):
        given = {"causal": False, **given}
    config = tiny_config(kind, **given)
    made: Any = getattr(transformers, class_name or CAUSAL[kind])
    if not isinstance(config, made.config_class):
        config = config.get_text_config(decoder=True)
    for name, value in _AT_WORK.items():
        if name in vars(config) and getattr(config, name) is not None:
            setattr(config, name, value)
    torch.manual_seed(0)
    with torch.device("meta"):
        size = sum(p.numel() for p in made._from_config(config).parameters())
    assert size < 6_000_000, f"{kind}: {size} parameters"
    model: PreTrainedModel = made._from_config(
        config, attn_implementation="eager", experts_implementation="eager"
    ).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()
