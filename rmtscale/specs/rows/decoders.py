"""Plain decoders: attention and a dense feed-forward in every layer."""

from __future__ import annotations

from dataclasses import replace

from rmtscale.errors import BadInput
from rmtscale.specs.gpt_neo import layer_kinds
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.rows import modules, windows
from rmtscale.specs.rows.fields import Fields
from rmtscale.specs.rows.row import Row


def sizes(
    vocabulary: int, width: int, inner: int, layers: int, heads: int, kv_heads: int | None = None
) -> dict[str, int | bool | None]:
    """A class's defaults of the usual sizes; its head has weights of its own.

    Most classes take as many heads of keys and values as there are of queries where a config says
    nothing (None), and some a number of their own, however many heads there are.
    """
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "tie_word_embeddings": False,
    }


_LLAMA = sizes(32000, 4096, 11008, 32, 32)
_PLAIN_GPT = {"gated": False, "norm_parts": 2, "mlp_bias": True}
_GPT_NAMES = {"width": "n_embd", "layers": "n_layer", "heads": "n_head", "inner": "n_inner"}
_GPT_SYNONYMS = {
    "hidden_size": "n_embd",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
    "max_position_embeddings": "n_positions",
}


def _four_widths(fields: Fields, width: int) -> int:
    return fields.size("n_inner", 4 * width)


def _own_head(fields: Fields, width: int, heads: int) -> int:
    """The head's width is the model's by the number of heads, whatever ``head_dim`` says."""
    if width % heads:
        raise BadInput(f"model {fields.name!r}: width {width}, expected a multiple of {heads}")
    return width // heads


def _one_for_all(fields: Fields, heads: int) -> int:
    return 1 if fields.flag("multi_query") else heads


def _all_heads(fields: Fields, heads: int) -> int:
    del fields
    return heads


def _falcon_kv(fields: Fields, heads: int) -> int:
    if fields.flag("new_decoder_architecture"):
        return fields.size("num_kv_heads", heads)
    fields.get("num_kv_heads")
    return 1 if fields.flag("multi_query") else heads


def _falcon_norms(fields: Fields) -> int:
    """Two where the blocks stand one behind the other, or where each has its own."""
    own = fields.get("num_ln_in_parallel_attn")
    if own is None and fields.flag("new_decoder_architecture"):
        own = 2
    return 2 if not fields.flag("parallel_attn") or own == 2 else 1


def _no_rows(fields: Fields) -> int:
    """Positions are computed; what a decoder alone does not have is refused."""
    fields.refuse("add_cross_attention", False, "cross-attention is not supported")
    return 0


def _gpt2_rows(fields: Fields) -> int:
    fields.refuse("add_cross_attention", False, "cross-attention is not supported")
    return fields.size("n_positions")


def _opt(fields: Fields, spec: LayeredSpec) -> LayeredSpec:
    """OPT-350M: norms after the blocks, and no final one."""
    pre_norm = fields.flag("do_layer_norm_before")
    affine = fields.flag("layer_norm_elementwise_affine")
    final = pre_norm and not fields.flag("_remove_final_layer_norm")
    # The projection goes in and out again.
    outer = spec.outer + tuple(
        item._replace(inner=item.outer, outer=item.inner, roles=(("project_out", item.inner),))
        for item in spec.outer
    )
    parts = 2 * affine
    return replace(spec, outer=outer, norm_parts=parts, outer_vectors=parts * spec.width * final)


def neo_window(fields: Fields, index: int, layers: int) -> int:
    """GPT-Neo: ``attention_layers``, or ``attention_types`` as [[kinds], times]."""
    listed, types = fields.get("attention_layers"), fields.get("attention_types")
    pattern = layer_kinds(listed, types, layers, fields.name)
    return fields.size("window_size") if pattern[index] == "local" else 0


def _opt_positions(fields: Fields, spec: LayeredSpec) -> LayeredSpec:
    """OPT keeps two more rows than it uses, as wide as the model."""
    rows = fields.size("max_position_embeddings") + 2
    return replace(spec, tables=rows * spec.width)


def _mpt_options(fields: Fields) -> bool:
    """MPT: no bias is the only kind that Transformers builds."""
    options = fields.get("attn_config")
    if options and options.get("qk_ln"):
        raise BadInput(
            f"model {fields.name!r}: qk_ln is true, norms of query and key are not built"
        )
    fields.get("no_bias")
    return False


ROWS = {
    "llama": Row(
        prefix="Llama",
        defaults=_LLAMA | {"attention_bias": False, "mlp_bias": False},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        mlp_bias="mlp_bias",
    ),
    "mistral": Row(
        prefix="Mistral",
        written_like="mistral",
        defaults=sizes(32000, 4096, 14336, 32, 32, 8) | {"sliding_window": 4096},
        window=windows.every_layer,
    ),
    "ministral3": Row(
        prefix="Ministral3",
        written_like="llama",
        defaults=sizes(131072, 4096, 14336, 34, 32, 8) | {"head_dim": 128},
        window=windows.every_layer,
    ),
    "ministral": Row(
        prefix="Ministral",
        written_like="llama",
        defaults=sizes(32000, 4096, 14336, 32, 32, 8) | {"sliding_window": 4096},
        window=windows.every_layer,
    ),
    "qwen2": Row(
        prefix="Qwen2",
        written_like="llama",
        defaults=sizes(151936, 4096, 22016, 32, 32, 32) | {"max_window_layers": 28},
        qkv_bias=True,
        window=windows.late_layers,
    ),
    "qwen2_vl_text": Row(
        prefix="Qwen2VL",
        written_like="llama",
        defaults=sizes(152064, 8192, 29568, 80, 64, 8) | {"max_window_layers": 80},
        qkv_bias=True,
        window=windows.late_layers,
    ),
    "qwen2_5_vl_text": Row(
        prefix="Qwen2_5_VL",
        written_like="llama",
        defaults=sizes(152064, 8192, 29568, 80, 64, 8) | {"max_window_layers": 80},
        qkv_bias=True,
        window=windows.late_layers,
    ),
    "qwen3": Row(
        prefix="Qwen3",
        written_like="llama",
        defaults=sizes(151936, 4096, 22016, 32, 32, 32)
        | {"head_dim": 128, "attention_bias": False, "max_window_layers": 28},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        qk_norm="head",
        window=windows.late_layers,
    ),
    "qwen3_vl_text": Row(
        prefix="Qwen3VL",
        written_like="llama",
        defaults=sizes(151936, 4096, 22016, 32, 32, 32)
        | {"head_dim": 128, "attention_bias": False},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        qk_norm="head",
    ),
    "gemma": Row(
        prefix="Gemma",
        defaults=sizes(256000, 3072, 24576, 28, 16, 16)
        | {"head_dim": 256, "attention_bias": False, "tie_word_embeddings": True},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        harmless="use_bidirectional_attention",
    ),
    "gemma2": Row(
        prefix="Gemma2",
        defaults=sizes(256000, 2304, 9216, 26, 8, 4)
        | {"head_dim": 256, "attention_bias": False, "tie_word_embeddings": True}
        | {"sliding_window": 4096},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        norms=4,
        window=windows.alternating,
        harmless="attn_logit_softcapping final_logit_softcapping query_pre_attn_scalar "
        "use_bidirectional_attention",
    ),
    "gemma3_text": Row(
        prefix="Gemma3",
        defaults=sizes(262208, 2304, 9216, 26, 8, 4)
        | {"head_dim": 256, "attention_bias": False, "tie_word_embeddings": True}
        | {"sliding_window": 4096},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        qk_norm="head",
        norms=4,
        window=windows.all_but_every(6),
        harmless="_sliding_window_pattern attn_logit_softcapping final_logit_softcapping "
        "query_pre_attn_scalar rope_local_base_freq use_bidirectional_attention",
    ),
    "phi3": Row(
        prefix="Phi3",
        written_like="phi3",
        defaults=sizes(32064, 3072, 8192, 32, 32),
        window=windows.every_layer,
        modules=modules.FUSED | modules.GATE_AND_UP,
    ),
    "phi": Row(
        prefix="Phi",
        defaults=sizes(51200, 2048, 8192, 24, 32) | {"qk_layernorm": False},
        **_PLAIN_GPT,  # type: ignore[arg-type]
        norms=1,
        qkv_bias=True,
        output_bias=True,
        head_bias=True,
        qk_norm=lambda fields: "head" if fields.flag("qk_layernorm") else "none",
        qk_norm_parts=2,
        harmless="partial_rotary_factor",
        modules=modules.PHI,
    ),
    "olmo": Row(
        prefix="Olmo",
        defaults=sizes(50304, 4096, 11008, 32, 32) | {"attention_bias": False},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        norm_parts=0,
        harmless="clip_qkv",
    ),
    "olmo2": Row(
        prefix="Olmo2",
        defaults=sizes(50304, 4096, 11008, 32, 32) | {"attention_bias": False},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        qk_norm="full",
    ),
    "olmo3": Row(
        prefix="Olmo3",
        defaults=sizes(50304, 4096, 11008, 32, 32)
        | {"attention_bias": False, "sliding_window": 4096},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        qk_norm="full",
        window=windows.all_but_every(4),
    ),
    "glm": Row(
        prefix="Glm",
        defaults=sizes(151552, 4096, 13696, 40, 32, 2) | {"attention_bias": True, "head_dim": 128},
        qkv_bias="attention_bias",
        harmless="partial_rotary_factor",
        modules=modules.LLAMA | modules.GATE_AND_UP,
    ),
    "glm4": Row(
        prefix="Glm4",
        defaults=sizes(151552, 4096, 13696, 40, 32, 2) | {"attention_bias": True, "head_dim": 128},
        qkv_bias="attention_bias",
        norms=4,
        harmless="partial_rotary_factor",
        modules=modules.LLAMA | modules.GATE_AND_UP,
    ),
    "starcoder2": Row(
        prefix="Starcoder2",
        defaults=sizes(49152, 3072, 12288, 30, 24, 2)
        | {"use_bias": True, "tie_word_embeddings": True},
        gated=False,
        norm_parts=2,
        qkv_bias="use_bias",
        output_bias="use_bias",
        mlp_bias="use_bias",
        window=windows.every_layer,
        harmless="mlp_type norm_type residual_dropout",
        modules=modules.LLAMA | modules.C_FC,
    ),
    "stablelm": Row(
        prefix="StableLm",
        defaults=sizes(50304, 2560, 6912, 32, 32, 32)
        | {"use_qkv_bias": False, "qk_layernorm": False, "use_parallel_residual": False},
        norm_parts=2,
        norms=lambda fields: 1 if fields.flag("use_parallel_residual") else 2,
        qkv_bias="use_qkv_bias",
        qk_norm=lambda fields: "heads" if fields.flag("qk_layernorm") else "none",
        head_width=_own_head,
        harmless="partial_rotary_factor rope_pct",
    ),
    "cohere": Row(
        prefix="Cohere",
        defaults=sizes(256000, 8192, 22528, 40, 64)
        | {"attention_bias": False, "tie_word_embeddings": True, "use_qk_norm": False},
        norms=1,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        qk_norm=lambda fields: "full" if fields.flag("use_qk_norm") else "none",
        harmless="logit_scale",
    ),
    "cohere2": Row(
        prefix="Cohere2",
        defaults=sizes(256000, 8192, 22528, 40, 64)
        | {"attention_bias": False, "tie_word_embeddings": True, "sliding_window": 4096},
        norms=1,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        window=windows.all_but_every(4),
        harmless="logit_scale order_of_interleaved_layers position_embedding_type rotary_pct "
        "use_embedding_sharing use_gated_activation use_parallel_block "
        "use_parallel_embedding use_qk_norm",
    ),
    "granite": Row(
        prefix="Granite",
        defaults=sizes(32000, 4096, 11008, 32, 32) | {"attention_bias": False, "mlp_bias": False},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        mlp_bias="mlp_bias",
        harmless="attention_multiplier embedding_multiplier logits_scaling residual_multiplier",
    ),
    "smollm3": Row(
        prefix="SmolLM3",
        written_like="llama",
        defaults=sizes(128256, 2048, 11008, 36, 16, 4)
        | {"attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        mlp_bias="mlp_bias",
        window=windows.late_layers,
        harmless="no_rope_layer_interval no_rope_layers",
    ),
    "seed_oss": Row(
        prefix="SeedOss",
        defaults=sizes(155136, 4096, 27648, 64, 80, 8)
        | {"attention_bias": True, "attention_out_bias": False, "mlp_bias": False}
        | {"head_dim": 128},
        qkv_bias="attention_bias",
        output_bias="attention_out_bias",
        mlp_bias="mlp_bias",
        harmless="residual_dropout",
    ),
    "exaone4": Row(
        prefix="Exaone4",
        defaults=sizes(102400, 4096, 16384, 32, 32, 32) | {"sliding_window": 4096},
        qk_norm="head",
        window=windows.all_but_every(4),
    ),
    "nemotron": Row(
        prefix="Nemotron",
        defaults=sizes(256000, 6144, 24576, 32, 48) | {"attention_bias": False, "mlp_bias": False},
        gated=False,
        norm_parts=2,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        mlp_bias="mlp_bias",
        harmless="partial_rotary_factor",
    ),
    "persimmon": Row(
        prefix="Persimmon",
        defaults=sizes(262144, 4096, 16384, 36, 64) | {"qk_layernorm": True},
        **_PLAIN_GPT,  # type: ignore[arg-type]
        kv_heads=_all_heads,
        head_width=_own_head,
        qkv_bias=True,
        output_bias=True,
        qk_norm=lambda fields: "head" if fields.flag("qk_layernorm") else "none",
        qk_norm_parts=2,
        harmless="head_dim num_key_value_heads partial_rotary_factor",
        modules=modules.PERSIMMON,
    ),
    "arcee": Row(
        prefix="Arcee",
        defaults=sizes(32000, 2560, 18432, 32, 32) | {"attention_bias": False, "mlp_bias": False},
        gated=False,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        mlp_bias="mlp_bias",
    ),
    "ernie4_5": Row(
        prefix="Ernie4_5",
        defaults=sizes(103424, 1024, 3072, 18, 16, 2)
        | {"head_dim": 128, "use_bias": False, "tie_word_embeddings": True},
        qkv_bias="use_bias",
        output_bias="use_bias",
        mlp_bias="use_bias",
    ),
    "gptj": Row(
        prefix="GPTJ",
        defaults={"vocab_size": 50400, "n_embd": 4096, "n_layer": 28, "n_head": 16}
        | {"n_positions": 2048, "tie_word_embeddings": False},
        names=_GPT_NAMES,
        synonyms=_GPT_SYNONYMS,
        **_PLAIN_GPT,  # type: ignore[arg-type]
        norms=1,
        inner=_four_widths,
        kv_heads=_all_heads,
        head_width=_own_head,
        head_bias=True,
        harmless="n_ctx n_positions rotary_dim summary_activation summary_first_dropout "
        "summary_proj_to_labels summary_type summary_use_proj tokenizer_class",
        modules=modules.GPTJ,
    ),
    "codegen": Row(
        prefix="CodeGen",
        defaults={"vocab_size": 50400, "n_embd": 4096, "n_layer": 28, "n_head": 16}
        | {"n_positions": 2048, "tie_word_embeddings": False},
        names=_GPT_NAMES,
        synonyms=_GPT_SYNONYMS,
        **_PLAIN_GPT,  # type: ignore[arg-type]
        norms=1,
        inner=_four_widths,
        kv_heads=_all_heads,
        head_width=_own_head,
        head_bias=True,
        harmless="n_ctx n_positions rotary_dim summary_activation summary_first_dropout "
        "summary_proj_to_labels summary_type summary_use_proj tokenizer_class",
        modules=modules.CODEGEN,
    ),
    "gpt2": Row(
        prefix="GPT2",
        defaults={"vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12}
        | {"n_positions": 1024, "tie_word_embeddings": True, "add_cross_attention": False},
        names=_GPT_NAMES,
        synonyms=_GPT_SYNONYMS,
        **_PLAIN_GPT,  # type: ignore[arg-type]
        qkv_bias=True,
        output_bias=True,
        inner=_four_widths,
        kv_heads=_all_heads,
        head_width=_own_head,
        positions=_gpt2_rows,
        added_positions="reorder_and_upcast_attn",
        default_class="LMHeadModel",
        harmless="reorder_and_upcast_attn scale_attn_by_inverse_layer_idx summary_activation "
        "summary_first_dropout summary_proj_to_labels summary_type summary_use_proj",
        modules=modules.GPT2,
    ),
    "gpt_neo": Row(
        prefix="GPTNeo",
        defaults={"vocab_size": 50257, "hidden_size": 2048, "num_layers": 24, "num_heads": 16}
        | {"max_position_embeddings": 2048, "tie_word_embeddings": True, "window_size": 256}
        | {"attention_types": [[["global", "local"], 12]]},
        names={"layers": "num_layers", "heads": "num_heads"},
        synonyms={"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads"},
        **_PLAIN_GPT,  # type: ignore[arg-type]
        output_bias=True,
        inner=lambda fields, width: fields.size("intermediate_size", 4 * width),
        kv_heads=_all_heads,
        head_width=_own_head,
        positions=lambda fields: fields.size("max_position_embeddings"),
        window=neo_window,
        harmless="attention_layers summary_activation summary_first_dropout "
        "summary_proj_to_labels summary_type summary_use_proj",
        modules=modules.GPT_NEO,
    ),
    "gpt_neox": Row(
        prefix="GPTNeoX",
        defaults=sizes(50432, 6144, 24576, 44, 64) | {"attention_bias": True},
        **_PLAIN_GPT,  # type: ignore[arg-type]
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        kv_heads=_all_heads,
        head_width=_own_head,
        harmless="head_dim num_key_value_heads rotary_pct use_parallel_residual",
        modules=modules.GPT_NEOX,
    ),
    "opt": Row(
        prefix="OPT",
        defaults=sizes(50272, 768, 3072, 12, 12)
        | {"ffn_dim": 3072, "max_position_embeddings": 2048, "tie_word_embeddings": True}
        | {"enable_bias": True, "do_layer_norm_before": True}
        | {"layer_norm_elementwise_affine": True, "_remove_final_layer_norm": False},
        names={"inner": "ffn_dim"},
        gated=False,
        norm_parts=2,
        qkv_bias="enable_bias",
        output_bias="enable_bias",
        mlp_bias="enable_bias",
        kv_heads=_all_heads,
        head_width=_own_head,
        embedding_width=lambda fields, width: fields.size("word_embed_proj_dim", width),
        adjust=lambda fields, spec: _opt_positions(fields, _opt(fields, spec)),
        modules=modules.OPT,
    ),
    "gpt_bigcode": Row(
        prefix="GPTBigCode",
        defaults={"vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12}
        | {"n_positions": 1024, "tie_word_embeddings": True, "multi_query": True}
        | {"add_cross_attention": False},
        names=_GPT_NAMES,
        synonyms=_GPT_SYNONYMS,
        **_PLAIN_GPT,  # type: ignore[arg-type]
        qkv_bias=True,
        output_bias=True,
        inner=_four_widths,
        kv_heads=_one_for_all,
        head_width=_own_head,
        positions=_gpt2_rows,
        harmless="attention_softmax_in_fp32 head_groups inference_runner max_batch_size "
        "max_sequence_length num_key_value_heads pad_key_length pre_allocate_kv_cache "
        "scale_attention_softmax_in_fp32 summary_activation summary_first_dropout "
        "summary_proj_to_labels summary_type summary_use_proj validate_runner_input",
        modules=modules.GPT2,
    ),
    "bloom": Row(
        prefix="Bloom",
        defaults={"vocab_size": 250880, "hidden_size": 64, "n_layer": 2, "n_head": 8}
        | {"tie_word_embeddings": True},
        names={"layers": "n_layer", "heads": "n_head"},
        synonyms={
            "num_hidden_layers": "n_layer",
            "num_attention_heads": "n_head",
            "n_embed": "hidden_size",
        },
        **_PLAIN_GPT,  # type: ignore[arg-type]
        qkv_bias=True,
        output_bias=True,
        embedding_norm=True,
        added_positions=True,
        inner=lambda fields, width: 4 * width,
        kv_heads=_all_heads,
        head_width=_own_head,
        harmless="apply_residual_connection_post_layernorm attention_softmax_in_fp32 "
        "bias_dropout_fusion masked_softmax_fusion n_inner offset_alibi skip_bias_add "
        "skip_bias_add_qkv slow_but_exact unk_token_id",
        modules=modules.BLOOM,
    ),
    "falcon": Row(
        prefix="Falcon",
        defaults=sizes(65024, 4544, 18176, 32, 71)
        | {"num_kv_heads": None, "multi_query": True, "new_decoder_architecture": False}
        | {"parallel_attn": True, "bias": False, "tie_word_embeddings": True},
        names={"inner": "ffn_hidden_size"},
        gated=False,
        norm_parts=2,
        norms=_falcon_norms,
        qkv_bias="bias",
        output_bias="bias",
        mlp_bias="bias",
        bias_apart=True,
        inner=lambda fields, width: fields.size("ffn_hidden_size", 4 * width),
        kv_heads=_falcon_kv,
        head_width=_own_head,
        synonyms={"n_embed": "hidden_size", "n_head": "num_attention_heads"}
        | {"n_layer": "num_hidden_layers"},
        harmless="activation alibi apply_residual_connection_post_layernorm multi_query n_head "
        "n_head_kv n_layer num_key_value_heads",
        modules=None,
    ),
    "mpt": Row(
        prefix="Mpt",
        defaults={"vocab_size": 50368, "d_model": 2048, "n_layers": 24, "n_heads": 16}
        | {"tie_word_embeddings": True},
        names={"width": "d_model", "layers": "n_layers", "heads": "n_heads"},
        synonyms={"hidden_size": "d_model", "num_attention_heads": "n_heads"}
        | {"num_hidden_layers": "n_layers"},
        gated=False,
        qkv_bias=_mpt_options,
        inner=lambda fields, width: 4 * width,
        kv_heads=_all_heads,
        head_width=_own_head,
        harmless="attn_config emb_pdrop embedding_fraction expansion_ratio fc_type ffn_config "
        "init_config init_device learned_pos_emb logit_scale max_seq_len norm_type "
        "tokenizer_name verbose",
        modules=modules.MPT,
    ),
    "xglm": Row(
        prefix="XGLM",
        defaults={"vocab_size": 256008, "d_model": 1024, "num_layers": 24, "attention_heads": 16}
        | {"ffn_dim": 4096, "tie_word_embeddings": True, "add_cross_attention": False},
        names={"width": "d_model", "layers": "num_layers", "heads": "attention_heads"}
        | {"inner": "ffn_dim"},
        synonyms={"hidden_size": "d_model", "num_attention_heads": "attention_heads"}
        | {"num_hidden_layers": "num_layers"},
        **_PLAIN_GPT,  # type: ignore[arg-type]
        qkv_bias=True,
        output_bias=True,
        kv_heads=_all_heads,
        head_width=_own_head,
        positions=_no_rows,
        modules=modules.XGLM,
    ),
}
