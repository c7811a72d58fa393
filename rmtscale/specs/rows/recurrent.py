"""Models whose layers, or some of them, mix tokens by a recurrence."""

from __future__ import annotations

from dataclasses import replace

from rmtscale.errors import BadInput
from rmtscale.specs.layers import FeedForward, Layer
from rmtscale.specs.parts import Part
from rmtscale.specs.recurrent import (
    DeltaRule,
    LinearRecurrence,
    Mamba,
    Mamba2,
    Rwkv,
    ShortConvolution,
)
from rmtscale.specs.rows import modules
from rmtscale.specs.rows.decoders import sizes
from rmtscale.specs.rows.experts import sparse_every
from rmtscale.specs.rows.fields import Fields
from rmtscale.specs.rows.row import Experts, Row, attention_of, feed_forward_of

_STEPS = (
    "time_step_floor time_step_init_scheme time_step_limit time_step_max time_step_min "
    "time_step_scale rescale_prenorm_residual residual_in_fp32 use_mambapy use_associative_scan "
    "use_mamba_kernels use_mem_eff_path rms_norm norm_before_gate fused_add_norm "
    "pad_vocab_size_multiple ssm_cfg"
)


def _rank(fields: Fields, key: str, width: int) -> int:
    return -(-width // 16) if fields.get(key) in ("auto", None) else fields.size(key)


def _mamba_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    width = fields.size("hidden_size")
    inner = fields.size("expand") * width
    mixer = Mamba(
        inner=fields.size("intermediate_size", inner),
        states=fields.size("state_size"),
        rank=_rank(fields, "time_step_rank", width),
        kernel=fields.size("conv_kernel"),
        bias=fields.flag("use_bias"),
        convolution_bias=fields.flag("use_conv_bias"),
    )
    del row
    return [Layer(mixer, norms=1)] * count


def _mamba2_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    del row
    width, heads = fields.size("hidden_size"), fields.size("num_heads")
    inner, head_width = fields.size("expand") * width, fields.size("head_dim")
    if inner != heads * head_width:
        raise BadInput(
            f"model {fields.name!r}: num_heads {heads} by head_dim {head_width}, expected to be "
            f"expand by hidden_size ({inner})"
        )
    mixer = Mamba2(
        heads=heads,
        head_width=head_width,
        groups=fields.size("n_groups"),
        states=fields.size("state_size"),
        kernel=fields.size("conv_kernel"),
        chunk=fields.size("chunk_size"),
        inner=inner,
        bias=fields.flag("use_bias"),
        convolution_bias=fields.flag("use_conv_bias"),
    )
    return [Layer(mixer, norms=1)] * count


def _rwkv_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    """The first layer has a norm more, for the embedding."""
    del row
    width = fields.size("hidden_size")
    block = FeedForward(
        inner=fields.size("intermediate_size", 4 * width),
        gated=False,
        receptance=True,
        extra_vectors=2 * width,
    )
    mixer = Rwkv(inner=fields.size("attention_hidden_size", width))
    return [Layer(mixer, block, 2 if index else 3) for index in range(count)]


def _hybrid(fields: Fields, count: int, interval: str, period: int) -> list[bool]:
    """Which layers are full attention; the others are linear."""
    names = fields.words("layer_types", count)
    if names is not None:
        return [name == "full_attention" for name in names]
    every = fields.get(interval) or period
    return [not (index + 1) % every for index in range(count)]


def _delta_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    """Three layers of the gated delta rule, one of gated attention."""
    delta = DeltaRule(
        key_heads=fields.size("linear_num_key_heads"),
        value_heads=fields.size("linear_num_value_heads"),
        key_width=fields.size("linear_key_head_dim"),
        value_width=fields.size("linear_value_head_dim"),
        kernel=fields.size("linear_conv_kernel_dim"),
    )
    full = _hybrid(fields, count, "full_attention_interval", 4)
    return [
        Layer(
            attention_of(fields, row, index, count) if full[index] else delta,
            feed_forward_of(fields, row, index),
        )
        for index in range(count)
    ]


def _griffin_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    """Recurrent blocks and local attention by turns (RecurrentGemma)."""
    width = fields.size("hidden_size")
    kinds = fields.get("block_types")
    if not kinds:
        raise fields.wrong("block_types", kinds, "a list of recurrent and attention")
    inner = fields.size("lru_width", width)
    recurrent = LinearRecurrence(
        inner=inner,
        heads=fields.size("num_attention_heads"),
        kernel=fields.size("conv1d_width"),
    )
    block = FeedForward(inner=fields.size("intermediate_size") // 2, bias=True)
    layers = []
    for index in range(count):
        mixer: Part = recurrent
        if kinds[index % len(kinds)] == "attention":
            mixer = attention_of(fields, row, index, count)
        layers.append(Layer(mixer, block))
    return layers


def _jamba_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    """One attention layer in eight, experts in every second."""
    width = fields.size("hidden_size")
    mamba = Mamba(
        inner=fields.size("mamba_expand") * width,
        states=fields.size("mamba_d_state"),
        rank=_rank(fields, "mamba_dt_rank", width),
        kernel=fields.size("mamba_d_conv"),
        bias=fields.flag("mamba_proj_bias"),
        convolution_bias=fields.flag("mamba_conv_bias"),
        norms=True,
    )
    dense = FeedForward(inner=fields.size("intermediate_size"))
    experts = dense
    if fields.size("num_experts") > 1:
        experts = replace(
            dense, experts=fields.size("num_experts"), active=fields.size("num_experts_per_tok")
        )
    period, offset = fields.size("attn_layer_period"), fields.count("attn_layer_offset")
    expert_period = fields.size("expert_layer_period")
    expert_offset = fields.count("expert_layer_offset")
    return [
        Layer(
            attention_of(fields, row, index, count) if index % period == offset else mamba,
            experts if index % expert_period == expert_offset else dense,
        )
        for index in range(count)
    ]


_NEMOTRON = {"M": "linear_attention", "E": "moe", "*": "full_attention", "-": "mlp"}
_NEMOTRON_OLD = {"mamba": "linear_attention", "attention": "full_attention"}


def _nemotron_kinds(fields: Fields) -> list[str]:
    given = fields.get("layer_types", fields.get("layers_block_type"))
    pattern = fields.get("hybrid_override_pattern")
    if given is None and pattern is not None:
        given = [_NEMOTRON.get(letter, letter) for letter in pattern]
    if given is None:
        given = ["linear_attention", "moe", "full_attention", "mlp"]
    kinds = [_NEMOTRON_OLD.get(str(kind), str(kind)) for kind in given]
    for kind in kinds:
        if kind not in _NEMOTRON.values():
            raise fields.wrong("layers_block_type", kind, "linear_attention, moe, mlp, ...")
    return kinds


def _first(fields: Fields, *keys: str) -> int:
    """The first of several names of a field that the config has."""
    for key in keys[:-1]:
        if fields.has(key):
            return fields.size(key)
    return fields.size(keys[-1])


def _nemotron_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    """Layers of one mixer or one feed-forward each."""
    del count
    heads, head_width = fields.size("mamba_num_heads"), fields.size("mamba_head_dim")
    convolution_bias = "mamba_conv_bias" if fields.has("mamba_conv_bias") else "use_conv_bias"
    mamba = Mamba2(
        heads=heads,
        head_width=head_width,
        groups=_first(fields, "mamba_n_groups", "n_groups"),
        states=fields.size("ssm_state_size"),
        kernel=_first(fields, "mamba_d_conv", "conv_kernel"),
        chunk=_first(fields, "mamba_chunk_size", "chunk_size"),
        inner=heads * head_width,
        bias=fields.flag("use_bias"),
        convolution_bias=fields.flag(convolution_bias),
    )
    bias = fields.flag("mlp_bias")
    made: dict[str, Layer] = {"linear_attention": Layer(mamba, norms=1)}
    kinds = _nemotron_kinds(fields)
    if "full_attention" in kinds:
        made["full_attention"] = Layer(attention_of(fields, row, 0, len(kinds)), norms=1)
    if "mlp" in kinds:
        dense = FeedForward(inner=fields.size("intermediate_size"), gated=False, bias=bias)
        made["mlp"] = Layer(None, dense, 1)
    if "moe" in kinds:
        experts = FeedForward(
            inner=fields.size("moe_intermediate_size"),
            gated=False,
            experts=fields.size("n_routed_experts"),
            active=fields.size("num_experts_per_tok"),
            shared=fields.size("moe_shared_expert_intermediate_size"),
            shared_bias=bias,
            latent=fields.count("moe_latent_size"),
        )
        made["moe"] = Layer(None, experts, 1)
    return [made[kind] for kind in kinds]


def _granite_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    """Mamba 2 and attention by turns; a shared block beside the experts, or alone (Granite 4)."""
    inner, heads = fields.size("mamba_expand") * fields.size("hidden_size"), "mamba_n_heads"
    if inner % fields.size(heads):
        raise fields.wrong(heads, fields.size(heads), f"a divisor of {inner}")
    mamba = Mamba2(
        heads=fields.size(heads),
        head_width=inner // fields.size(heads),
        groups=fields.size("mamba_n_groups"),
        states=fields.size("mamba_d_state"),
        kernel=fields.size("mamba_d_conv"),
        chunk=fields.size("mamba_chunk_size"),
        inner=inner,
        bias=fields.flag("mamba_proj_bias"),
        convolution_bias=fields.flag("mamba_conv_bias"),
    )
    block = FeedForward(inner=fields.size("shared_intermediate_size"))
    if fields.count("num_local_experts"):
        block = FeedForward(
            inner=fields.size("intermediate_size"),
            experts=fields.size("num_local_experts"),
            active=fields.size("num_experts_per_tok"),
            shared=block.inner,
        )
    kinds = fields.words("layer_types", count) or ["mamba"] * count
    mixers: dict[str, Part] = {"mamba": mamba, "linear_attention": mamba}
    for kind in set(kinds) - set(mixers):
        if kind not in ("attention", "full_attention"):
            raise fields.wrong("layer_types", kind, "mamba or attention")
        mixers[kind] = attention_of(fields, row, 0, count)
    return [Layer(mixers[kind], block) for kind in kinds]


def _lfm2_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    width = fields.size("hidden_size")
    inner = _first(fields, "block_ff_dim", "intermediate_size")
    if fields.flag("block_auto_adjust_ff_dim"):
        inner = 2 * inner // 3
        factor = fields.get("block_ffn_dim_multiplier")
        if factor is not None:
            multiple = fields.size("block_multiple_of")
            inner = multiple * -(-int(factor * inner) // multiple)
    names = fields.words("layer_types", count)
    given = fields.get("full_attn_idxs") is not None
    listed = fields.indices("full_attn_idxs") if given else None
    full = [listed is None or index in listed for index in range(count)]
    if names is not None:
        full = [name == "full_attention" for name in names]
    convolution = ShortConvolution(
        kernel=fields.size("conv_L_cache"), width=width, bias=fields.flag("conv_bias")
    )
    block = FeedForward(inner=inner)
    return [
        Layer(attention_of(fields, row, index, count) if full[index] else convolution, block)
        for index in range(count)
    ]


def _linear_sizes(key_heads: int = 16, value_heads: int = 32) -> dict[str, int | bool]:
    return {
        "head_dim": 256,
        "attention_bias": False,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": key_heads,
        "linear_num_value_heads": value_heads,
    }


_QWEN_HARMLESS = (
    "attn_output_gate mamba_ssm_dtype mtp_num_hidden_layers mtp_use_dedicated_embeddings "
    "partial_rotary_factor norm_topk_prob output_router_logits mlp_only_layers "
    "full_attention_interval intermediate_size output_gate_type"
)
_EXPERTS = Experts(
    shared=lambda fields, inner: fields.count("shared_expert_intermediate_size"), shared_gate=True
)

ROWS = {
    "mamba": Row(
        prefix="Mamba",
        defaults={"vocab_size": 50280, "hidden_size": 768, "num_hidden_layers": 32}
        | {"state_size": 16, "expand": 2, "conv_kernel": 4, "use_bias": False}
        | {"use_conv_bias": True, "tie_word_embeddings": True},
        layers=_mamba_layers,
        harmless=f"{_STEPS} d_inner d_model expand n_layer",
        modules=modules.MAMBA,
    ),
    "falcon_mamba": Row(
        prefix="FalconMamba",
        defaults={"vocab_size": 50280, "hidden_size": 768, "num_hidden_layers": 32}
        | {"state_size": 16, "expand": 2, "conv_kernel": 4, "use_bias": False}
        | {"use_conv_bias": True, "tie_word_embeddings": True},
        layers=_mamba_layers,
        harmless=f"{_STEPS} mixer_rms_eps",
        modules=modules.MAMBA,
    ),
    "mamba2": Row(
        prefix="Mamba2",
        defaults={"vocab_size": 32768, "hidden_size": 4096, "num_hidden_layers": 64}
        | {"state_size": 128, "expand": 2, "conv_kernel": 4, "use_bias": False}
        | {"use_conv_bias": True, "tie_word_embeddings": False, "num_heads": 128}
        | {"head_dim": 64, "n_groups": 8, "chunk_size": 256},
        layers=_mamba2_layers,
        harmless=f"{_STEPS} time_step_rank",
        modules=modules.MAMBA,
    ),
    "rwkv": Row(
        prefix="Rwkv",
        defaults={"vocab_size": 50277, "hidden_size": 4096, "num_hidden_layers": 32}
        | {"tie_word_embeddings": False},
        norm_parts=2,
        layers=_rwkv_layers,
        harmless="context_length rescale_every",
        modules=modules.RWKV,
    ),
    "qwen3_next": Row(
        prefix="Qwen3Next",
        defaults=sizes(151936, 2048, 5632, 48, 16, 2)
        | _linear_sizes()
        | {"decoder_sparse_step": 1, "moe_intermediate_size": 512, "num_experts": 512}
        | {"shared_expert_intermediate_size": 512, "num_experts_per_tok": 10},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        output_gate=True,
        qk_norm="head",
        experts=replace(_EXPERTS, dense=sparse_every),
        layers=_delta_layers,
        harmless=_QWEN_HARMLESS,
        modules=modules.QWEN3_NEXT,
    ),
    "qwen3_5_text": Row(
        prefix="Qwen3_5",
        defaults=sizes(248320, 4096, 12288, 32, 16, 4) | _linear_sizes(),
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        output_gate=True,
        qk_norm="head",
        layers=_delta_layers,
        harmless=_QWEN_HARMLESS,
        modules=modules.QWEN3_5,
    ),
    "qwen3_5_moe_text": Row(
        prefix="Qwen3_5Moe",
        defaults=sizes(248320, 2048, 0, 40, 16, 2)
        | _linear_sizes()
        | {"moe_intermediate_size": 512, "num_experts": 256, "num_experts_per_tok": 8}
        | {"shared_expert_intermediate_size": 512},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        output_gate=True,
        qk_norm="head",
        experts=_EXPERTS,
        layers=_delta_layers,
        harmless=f"{_QWEN_HARMLESS} intermediate_size",
        modules=modules.QWEN3_5,
    ),
    "recurrent_gemma": Row(
        prefix="RecurrentGemma",
        defaults=sizes(256000, 2560, 7680, 26, 10)
        | {"lru_width": None, "attention_window_size": 2048}
        | {"conv1d_width": 4, "block_types": ["recurrent", "recurrent", "attention"]}
        | {"attention_bias": False, "tie_word_embeddings": True},
        qkv_bias="attention_bias",
        output_bias=True,
        window=lambda fields, index, layers: fields.count("attention_window_size"),
        layers=_griffin_layers,
        harmless="embeddings_scale_by_sqrt_dim final_w_init_variance_scale "
        "logits_soft_cap partial_rotary_factor w_init_variance_scale",
        modules=modules.RECURRENT_GEMMA,
    ),
    "jamba": Row(
        prefix="Jamba",
        defaults=sizes(65536, 4096, 14336, 32, 32, 8)
        | {"num_experts_per_tok": 2, "num_experts": 16, "expert_layer_period": 2}
        | {"expert_layer_offset": 1, "attn_layer_period": 8, "attn_layer_offset": 4}
        | {"mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": "auto"}
        | {"mamba_conv_bias": True, "mamba_proj_bias": False},
        layers=_jamba_layers,
        harmless=f"{_STEPS} calc_logits_for_entire_prompt mamba_inner_layernorms n_ctx "
        "num_logits_to_keep sliding_window",
        modules=modules.JAMBA,
    ),
    "nemotron_h": Row(
        prefix="NemotronH",
        defaults=sizes(131072, 4096, 21504, 4, 32, 8)
        | {"head_dim": 128, "mlp_bias": False, "ssm_state_size": 128, "mamba_num_heads": 128}
        | {"mamba_head_dim": 64, "n_groups": 8, "conv_kernel": 4, "use_conv_bias": True}
        | {"chunk_size": 128, "use_bias": False, "n_routed_experts": 8}
        | {"moe_intermediate_size": 7688, "moe_shared_expert_intermediate_size": 7688}
        | {"num_experts_per_tok": 2},
        synonyms={"num_local_experts": "n_routed_experts"},
        layers=_nemotron_layers,
        fixed={"tie_word_embeddings": False},
        harmless=f"{_STEPS} attention_bias attention_head_dim expand intermediate_size "
        "mamba_dt_init_floor mamba_dt_limit mamba_dt_max mamba_dt_min mamba_expand "
        "mamba_hidden_act mamba_proj_bias mamba_ssm_cache_dtype mlp_hidden_act "
        "moe_latent_size moe_shared_expert_overlap mtp_hybrid_override_pattern "
        "mtp_layers_block_type n_group n_shared_experts norm_topk_prob "
        "num_hidden_layers num_logits_to_keep num_nextn_predict_layers num_query_groups "
        "partial_rotary_factor routed_scaling_factor router_aux_loss_coef "
        "sliding_window time_step_rank topk_group",
        modules=modules.NEMOTRON_H,
    ),
    "granitemoehybrid": Row(
        prefix="GraniteMoeHybrid",
        defaults=sizes(32000, 4096, 11008, 32, 32)
        | {"attention_bias": False, "num_local_experts": 8}
        | {"num_experts_per_tok": 2, "shared_intermediate_size": 1024, "mamba_n_heads": 128}
        | {"mamba_n_groups": 1, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2}
        | {"mamba_chunk_size": 256, "mamba_conv_bias": True, "mamba_proj_bias": False},
        synonyms={"layers_block_type": "layer_types"},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        layers=_granite_layers,
        modules=modules.GRANITE_HYBRID,
        harmless=f"{_STEPS} attention_multiplier embedding_multiplier logits_scaling "
        "mamba_d_head normalization_function num_experts position_embedding_type "
        "residual_multiplier init_method",
    ),
    "lfm2": Row(
        prefix="Lfm2",
        defaults=sizes(65536, 2560, 12288, 32, 32, 8)
        | {"conv_bias": False, "conv_L_cache": 3, "block_multiple_of": 256}
        | {"block_ffn_dim_multiplier": 1.0, "block_auto_adjust_ff_dim": True}
        | {"tie_word_embeddings": True},
        synonyms={"tie_embedding": "tie_word_embeddings"},
        qk_norm="head",
        layers=_lfm2_layers,
        harmless="block_dim block_mlp_init_scale block_norm_eps block_out_init_scale "
        "block_use_swiglu block_use_xavier_init conv_dim conv_dim_out "
        "conv_use_xavier_init num_attention_heads num_heads use_pos_enc",
        modules=modules.LFM2,
    ),
}
