"""Decoders with a mixture of experts, and those with multi-head latent attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rmtscale.errors import BadInput
from rmtscale.specs.attention import Attention
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.layers import FeedForward, Layer
from rmtscale.specs.parts import Matrix
from rmtscale.specs.rows import modules, windows
from rmtscale.specs.rows.decoders import sizes
from rmtscale.specs.rows.fields import Fields
from rmtscale.specs.rows.row import (
    Experts,
    Row,
    attention_of,
    feed_forward_of,
    latent_attention,
)

_LOCAL = {"num_experts": "num_local_experts"}
_ROUTED = {"num_local_experts": "n_routed_experts"}
_ROUTED_TOO = {**_ROUTED, "num_experts": "n_routed_experts"}
_NAMED = {"num_local_experts": "num_experts"}
_ROUTING = (
    "norm_topk_prob n_group topk_group topk_method routed_scaling_factor scoring_func "
    "aux_loss_alpha seq_aux ep_size num_nextn_predict_layers moe_layer_freq router_aux_loss_coef "
    "intermediate_size num_key_value_heads sliding_window moe_router_dtype head_dim qk_head_dim"
)


def sparse_every(fields: Fields, index: int) -> bool:
    """Dense where ``mlp_only_layers`` says so, or between every ``decoder_sparse_step``."""
    step = fields.size("decoder_sparse_step")
    return index in fields.indices("mlp_only_layers") or bool((index + 1) % step)


def dense_first(fields: Fields, index: int) -> bool:
    """Dense at the start, or where ``mlp_layer_types`` says so."""
    names = fields.get("mlp_layer_types")
    first = fields.count("first_k_dense_replace")
    if names is not None:
        if not index < len(names):
            raise BadInput(
                f"model {fields.name!r}: mlp_layer_types names {len(names)} layers, expected more"
            )
        return bool(names[index] == "dense")
    return index < first


def _dense_before(fields: Fields, index: int) -> bool:
    return index < fields.count("first_k_dense_replace")


def several(key: str) -> Callable[[Fields, int], int]:
    """So many experts that every token passes through, each as wide as the others."""
    return lambda fields, inner: fields.count(key) * inner


def _wide(key: str) -> Callable[[Fields, int], int]:
    return lambda fields, inner: fields.count(key)


def _two_experts(fields: Fields, spec: LayeredSpec) -> LayeredSpec:
    fields.refuse("num_experts_per_tok", 2, "its router chooses two")
    return spec


_DEEPSEEK = Experts(experts="n_routed_experts", shared=several("n_shared_experts"))


def _shared_indexers(fields: Fields, count: int) -> list[bool]:
    """Whether a layer has an indexer of its own (GLM-5.2 shares them)."""
    kinds = fields.words("indexer_types", count)
    if kinds is None:
        pattern = fields.get("index_topk_pattern")
        if pattern is not None:
            kinds = ["full" if item in ("F", "full") else "shared" for item in pattern]
        else:
            frequency = max(fields.count("index_topk_freq"), 1)
            given = fields.get("index_skip_topk_offset") is not None
            offset = fields.count("index_skip_topk_offset") if given else 2
            return [max(index - offset + 1, 0) % frequency == 0 for index in range(count)]
    if len(kinds) != count:
        raise BadInput(
            f"model {fields.name!r}: indexer_types names {len(kinds)} layers, expected {count}"
        )
    return [kind == "full" for kind in kinds]


def _indexed_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    """Latent attention over what an indexer chooses."""
    full = _shared_indexers(fields, count) if row.prefix == "GlmMoeDsa" else [True] * count
    attention = latent_attention(fields, row)
    heads, width = fields.size("index_n_heads"), fields.size("index_head_dim")
    indexed = replace(attention, index_heads=heads, index_width=width)
    return [
        Layer(indexed if full[index] else attention, feed_forward_of(fields, row, index))
        for index in range(count)
    ]


def _llama4_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    """Experts in every so many-th layer, dense ones of another width between."""
    listed, step = fields.get("moe_layers"), fields.size("interleave_moe_layer_step")
    sparse = fields.indices("moe_layers") if listed is not None else range(step - 1, count, step)
    inner = fields.size("intermediate_size")
    experts = FeedForward(
        inner=inner,
        experts=fields.size("num_local_experts"),
        active=fields.size("num_experts_per_tok"),
        all_multiplied=True,
        shared=inner,
    )
    dense = FeedForward(inner=fields.size("intermediate_size_mlp"))
    return [
        Layer(attention_of(fields, row, index, count), experts if index in sparse else dense)
        for index in range(count)
    ]


def _llama4_window(fields: Fields, index: int, layers: int) -> int:
    every = fields.size("no_rope_layer_interval")
    given = fields.flags("no_rope_layers", layers) if fields.get("no_rope_layers") else None
    rotary = given[index] if given else (index + 1) % every
    if fields.words("layer_types", layers) is None:
        return fields.count("attention_chunk_size") if rotary else 0
    return windows.typed("sliding_window", fields, index, layers, full=not rotary)


def _mimo_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    """Sliding layers have twice the key and value heads, and sinks."""
    del row
    names = fields.words("layer_types", count)
    kinds = fields.words("mlp_layer_types", count)
    heads, kv_heads = fields.size("num_attention_heads"), fields.size("num_key_value_heads")
    bias = fields.flag("attention_bias")
    layers = []
    for index in range(count):
        full = not index or not (index + 1) % 6
        if names is not None:
            full = names[index] == "full_attention"
        attention = Attention(
            heads=heads,
            kv_heads=kv_heads * (1 if full else 2),
            head_width=fields.size("head_dim"),
            value_width=fields.size("v_head_dim"),
            window=0 if full else fields.count("sliding_window"),
            qkv_bias=bias,
            sinks=not full,
        )
        dense = kinds[index] == "dense" if kinds is not None else not index
        block = FeedForward(inner=fields.size("intermediate_size"))
        if not dense:
            block = FeedForward(
                inner=fields.size("moe_intermediate_size"),
                experts=fields.size("n_routed_experts"),
                active=fields.size("num_experts_per_tok"),
            )
        layers.append(Layer(attention, block))
    return layers


def _gemma4_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    """Global layers with heads of their own, experts beside a dense block, per-layer inputs."""
    del row
    names = fields.words("layer_types", count) or [
        "sliding_attention" if (index + 1) % 6 else "full_attention" for index in range(count)
    ]
    names[-1] = "full_attention"
    if fields.get("per_layer_config") is not None:
        raise BadInput(
            f"model {fields.name!r}: per_layer_config is not read, expected global_head_dim and "
            "num_global_key_value_heads"
        )
    width, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    same = fields.flag("attention_k_eq_v")
    bias = fields.flag("attention_bias")
    kv_heads = fields.size("num_key_value_heads")
    global_kv = fields.get("num_global_key_value_heads")
    side = fields.count("hidden_size_per_layer_input")
    first_shared = count - fields.count("num_kv_shared_layers")
    layers = []
    for index, name in enumerate(names):
        full, reused = name == "full_attention", index >= first_shared
        own_kv = global_kv if full and same and global_kv is not None else kv_heads
        head = fields.size("global_head_dim", 512) if full else fields.size("head_dim")
        attention = Attention(
            heads=heads,
            kv_heads=own_kv,
            head_width=head,
            window=0 if full else fields.count("sliding_window"),
            qkv_bias=bias,
            output_bias=bias,
            keys_are_values=same and full,
            reuses_keys=reused,
            qk_norm="head",
        )
        inner = fields.size("intermediate_size")
        inner *= 2 if reused and fields.flag("use_double_wide_mlp") else 1
        block, norms = FeedForward(inner=inner, side=side), 4 + bool(side)
        if fields.flag("enable_moe_block"):
            experts = fields.size("num_experts")
            block = FeedForward(
                inner=fields.size("moe_intermediate_size"),
                experts=experts,
                active=fields.size("top_k_experts"),
                dense_beside=inner,
                side=side,
                extra_vectors=width + experts,
            )
            norms += 3
        layers.append(Layer(attention, block, norms))
    return layers


def _gemma4(fields: Fields, spec: LayeredSpec) -> LayeredSpec:
    """The inputs that every layer has of its own (PLE)."""
    side = fields.count("hidden_size_per_layer_input")
    rows = fields.count("vocab_size_per_layer_input")
    if not side:
        return spec
    roles = (("project_sides", spec.layers * side),)
    return replace(
        spec,
        tables=rows * spec.layers * side,
        outer=(Matrix("projection", spec.width, spec.layers * side, roles=roles),),
        outer_vectors=spec.outer_vectors + side,
    )


_MLA = {
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "qk_nope_head_dim": 128,
    "attention_bias": False,
}
_V3 = (
    sizes(129280, 7168, 18432, 61, 128, 128)
    | _MLA
    | {
        "moe_intermediate_size": 2048,
        "n_shared_experts": 1,
        "n_routed_experts": 256,
        "num_experts_per_tok": 8,
        "first_k_dense_replace": 3,
    }
)
_QWEN3_MOE = sizes(151936, 2048, 6144, 24, 32, 4) | {
    "attention_bias": False,
    "decoder_sparse_step": 1,
    "moe_intermediate_size": 768,
    "num_experts_per_tok": 8,
    "num_experts": 128,
}

ROWS = {
    "mixtral": Row(
        prefix="Mixtral",
        written_like="mistral",
        defaults=sizes(32000, 4096, 14336, 32, 32, 8)
        | {"num_experts_per_tok": 2, "num_local_experts": 8},
        synonyms=_LOCAL,
        experts=Experts(experts="num_local_experts", inner="intermediate_size"),
        window=windows.every_layer,
        harmless="router_jitter_noise",
        modules=modules.MIXTRAL,
    ),
    "phimoe": Row(
        prefix="Phimoe",
        defaults=sizes(32064, 4096, 6400, 32, 32, 8)
        | {"num_experts_per_tok": 2, "num_local_experts": 16}
        | {"attention_bias": False, "lm_head_bias": False},
        norm_parts=2,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        head_bias="lm_head_bias",
        experts=Experts(experts="num_local_experts", inner="intermediate_size"),
        window=windows.every_layer,
        adjust=_two_experts,
        harmless="input_jitter_noise router_jitter_noise",
        modules=modules.MIXTRAL,
    ),
    "qwen2_moe": Row(
        prefix="Qwen2Moe",
        defaults=sizes(151936, 2048, 5632, 24, 16, 16)
        | {"decoder_sparse_step": 1, "moe_intermediate_size": 1408, "num_experts": 60}
        | {"shared_expert_intermediate_size": 5632, "num_experts_per_tok": 4, "qkv_bias": True}
        | {"max_window_layers": 28},
        qkv_bias="qkv_bias",
        experts=Experts(
            shared=_wide("shared_expert_intermediate_size"), shared_gate=True, dense=sparse_every
        ),
        window=windows.late_layers,
        harmless=_ROUTING,
        modules=modules.SHARED_EXPERT,
    ),
    "qwen3_moe": Row(
        prefix="Qwen3Moe",
        written_like="llama",
        defaults=_QWEN3_MOE,
        synonyms=_NAMED,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        qk_norm="head",
        experts=Experts(experts="num_experts", dense=sparse_every),
        window=lambda fields, index, layers: (
            fields.count("sliding_window") if fields.flag("use_sliding_window") else 0
        ),
        harmless=f"{_ROUTING} max_window_layers shared_expert_intermediate_size",
    ),
    "qwen3_vl_moe_text": Row(
        prefix="Qwen3VLMoe",
        defaults=sizes(151936, 2048, 5632, 24, 16, 16)
        | {"attention_bias": False, "decoder_sparse_step": 1, "moe_intermediate_size": 1408}
        | {"num_experts_per_tok": 4, "num_experts": 60, "tie_word_embeddings": True},
        synonyms=_NAMED,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        qk_norm="head",
        experts=Experts(experts="num_experts", dense=sparse_every),
        harmless=_ROUTING,
    ),
    "olmoe": Row(
        prefix="Olmoe",
        defaults=sizes(50304, 2048, 2048, 16, 16)
        | {"num_experts_per_tok": 8, "num_experts": 64, "attention_bias": False},
        synonyms=_NAMED,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        qk_norm="full",
        experts=Experts(inner="intermediate_size"),
        harmless=f"{_ROUTING} clip_qkv",
    ),
    "granitemoe": Row(
        prefix="GraniteMoe",
        defaults=sizes(32000, 4096, 11008, 32, 32)
        | {"num_local_experts": 8, "num_experts_per_tok": 2, "attention_bias": False},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        experts=Experts(experts="num_local_experts", inner="intermediate_size"),
        harmless="attention_multiplier embedding_multiplier logits_scaling residual_multiplier",
        modules=modules.GRANITE_MOE,
    ),
    "minimax_m2": Row(
        prefix="MiniMaxM2",
        defaults=sizes(200064, 3072, 1536, 62, 48, 8)
        | {"head_dim": 128, "num_experts_per_tok": 8, "num_local_experts": 256},
        synonyms=_LOCAL,
        qk_norm="full",
        experts=Experts(experts="num_local_experts", inner="intermediate_size"),
        harmless=f"{_ROUTING} attn_type_list layernorm_full_attention_alpha "
        "layernorm_full_attention_beta layernorm_linear_attention_alpha "
        "layernorm_linear_attention_beta layernorm_mlp_alpha layernorm_mlp_beta "
        "max_model_len mtp_transformer_layers num_mtp_modules partial_rotary_factor "
        "qk_norm_type rotary_dim router_jitter_noise shared_intermediate_size "
        "sliding_window swa_rope_theta use_mtp use_qk_norm use_routing_bias",
        modules=modules.MIXTRAL,
    ),
    "gpt_oss": Row(
        prefix="GptOss",
        defaults=sizes(201088, 2880, 2880, 36, 64, 8)
        | {"head_dim": 64, "sliding_window": 128, "num_local_experts": 128}
        | {"num_experts_per_tok": 4, "attention_bias": True},
        synonyms=_LOCAL,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        sinks=True,
        experts=Experts(
            experts="num_local_experts",
            inner="intermediate_size",
            expert_bias=True,
            router_bias=True,
        ),
        window=windows.alternating,
        harmless="experts_per_token initial_context_length swiglu_alpha swiglu_limit",
        modules=modules.GPT_OSS,
    ),
    "glm4_moe": Row(
        prefix="Glm4Moe",
        defaults=sizes(151552, 4096, 10944, 46, 96, 8)
        | {"attention_bias": False, "moe_intermediate_size": 1408, "num_experts_per_tok": 8}
        | {"n_shared_experts": 1, "n_routed_experts": 128, "first_k_dense_replace": 1}
        | {"use_qk_norm": False},
        synonyms=_ROUTED,
        qkv_bias="attention_bias",
        qk_norm=lambda fields: "head" if fields.flag("use_qk_norm") else "none",
        experts=replace(_DEEPSEEK, dense=_dense_before),
        harmless=f"{_ROUTING} partial_rotary_factor",
    ),
    "deepseek_v2": Row(
        prefix="DeepseekV2",
        defaults=sizes(102400, 4096, 11008, 32, 32)
        | _MLA
        | {"mlp_bias": False, "first_k_dense_replace": 0, "n_routed_experts": 64}
        | {"n_shared_experts": 2, "moe_intermediate_size": 1407},
        synonyms={"num_experts": "n_routed_experts"},
        latent=True,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        mlp_bias="mlp_bias",
        experts=replace(_DEEPSEEK, dense=_dense_before, shared_bias=True),
        harmless=_ROUTING,
    ),
    "deepseek_v3": Row(
        prefix="DeepseekV3",
        defaults=_V3,
        synonyms=_ROUTED,
        latent=True,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        experts=replace(_DEEPSEEK, dense=_dense_before),
        harmless=f"{_ROUTING} rope_interleave",
    ),
    "deepseek_v32": Row(
        prefix="DeepseekV32",
        defaults=_V3 | {"index_head_dim": 128, "index_n_heads": 64},
        synonyms=_ROUTED_TOO,
        latent=True,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        experts=replace(_DEEPSEEK, dense=dense_first),
        layers=_indexed_layers,
        harmless=f"{_ROUTING} index_topk layer_types mlp_bias rope_interleave",
    ),
    "glm_moe_dsa": Row(
        prefix="GlmMoeDsa",
        defaults=sizes(154880, 6144, 12288, 78, 64, 64)
        | _MLA
        | {"q_lora_rank": 2048, "v_head_dim": 256, "qk_nope_head_dim": 192}
        | {"moe_intermediate_size": 2048, "n_shared_experts": 1, "n_routed_experts": 256}
        | {"num_experts_per_tok": 8, "first_k_dense_replace": 3}
        | {"index_head_dim": 128, "index_n_heads": 32},
        synonyms=_ROUTED_TOO,
        latent=True,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        experts=replace(_DEEPSEEK, dense=dense_first),
        layers=_indexed_layers,
        harmless=f"{_ROUTING} head_dim index_share_for_mtp_iteration index_topk "
        "indexer_rope_interleave layer_types mlp_bias qk_head_dim rope_interleave",
    ),
    "minicpm3": Row(
        prefix="MiniCPM3",
        defaults=sizes(73448, 2560, 6400, 62, 40, 40)
        | _MLA
        | {"kv_lora_rank": 256, "q_lora_rank": 768, "qk_nope_head_dim": 64, "mlp_bias": False}
        | {"qk_rope_head_dim": 32, "v_head_dim": None, "tie_word_embeddings": True},
        latent=True,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        mlp_bias="mlp_bias",
        harmless="dim_model_base head_dim qk_head_dim scale_depth scale_emb",
    ),
    "llama4_text": Row(
        prefix="Llama4",
        defaults=sizes(202048, 5120, 8192, 48, 40, 8)
        | {"head_dim": 128, "intermediate_size_mlp": 16384, "num_experts_per_tok": 1}
        | {"num_local_experts": 16, "interleave_moe_layer_step": 1, "attention_bias": False}
        | {"no_rope_layer_interval": 4, "attention_chunk_size": 8192},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        layers=_llama4_layers,
        window=_llama4_window,
        harmless="attn_scale attn_temperature_tuning floor_scale for_llm_compressor "
        "router_jitter_noise use_qk_norm",
        modules=modules.LLAMA4,
    ),
    "mimo_v2_flash": Row(
        prefix="MiMoV2Flash",
        defaults=sizes(152576, 4096, 16384, 48, 64, 4)
        | {"head_dim": 192, "v_head_dim": 128, "sliding_window": 129, "attention_bias": False}
        | {"moe_intermediate_size": 2048, "num_experts_per_tok": 8, "n_routed_experts": 256},
        synonyms=_ROUTED,
        layers=_mimo_layers,
        harmless=f"{_ROUTING} attention_chunk_size attention_value_scale partial_rotary_factor "
        "sliding_window_size swa_rope_theta",
    ),
    "gemma4_text": Row(
        prefix="Gemma4",
        defaults=sizes(262144, 2304, 9216, 30, 8, 4)
        | {"head_dim": 256, "attention_bias": False, "tie_word_embeddings": True}
        | {"sliding_window": 512, "vocab_size_per_layer_input": 262144}
        | {"hidden_size_per_layer_input": 256, "num_kv_shared_layers": 0},
        layers=_gemma4_layers,
        adjust=_gemma4,
        harmless="expert_intermediate_size final_logit_softcapping moe_intermediate_size "
        "num_experts top_k_experts use_bidirectional_attention use_double_wide_mlp",
        modules=modules.GEMMA4,
    ),
}
