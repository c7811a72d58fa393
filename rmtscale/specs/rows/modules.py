"""Names of the linear layers of a type, by what each does: what lists of a quantisation speak of.

Two roles with one name are one module (``qkv_proj``). A role without a name is no linear layer of
the released module, and no method quantises it: routers, the weights of an indexer. Of a name with
``|`` in it both are in use: Transformers' own, and that of published files. ``*`` is the number of
an expert.
"""

from __future__ import annotations

from collections.abc import Mapping

Modules = Mapping[str, str]


def named(place: str, prefix: str = "", **names: str) -> dict[str, str]:
    """Roles with the names of their modules, all in one place of a layer."""
    return {f"{prefix}{role}": f"{place}.{name}" for role, name in names.items()}


def layers(place: str, head: str = "lm_head") -> dict[str, str]:
    """Where a model's layers are, and what its head is called."""
    return {"layers": place, "head": head}


_GATED = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
_MIXTRAL = {"gate": "w1", "up": "w3", "down": "w2"}
_PLAIN = {"q": "q_proj", "k": "k_proj", "v": "v_proj"}
_IN_GPT = layers("transformer.h")
_FIRST_AND_SECOND = {"up": "fc1", "down": "fc2"}


def _experts(place: str = "mlp", names: Modules | None = None) -> dict[str, str]:
    return named(f"{place}.experts.*", "expert_", **(names or _GATED))


LLAMA = (
    layers("model.layers")
    | named("self_attn", **_PLAIN, o="o_proj")
    | named("self_attn", q_a="q_a_proj", q_b="q_b_proj")
    | named("self_attn", kv_a="kv_a_proj_with_mqa", kv_b="kv_b_proj")
    | named("self_attn.indexer", index_q="wq_b", index_k="wk")
    | named("mlp", **_GATED)
    | _experts()
    | named("mlp.shared_experts", "shared_", **_GATED)
)
"""The plain decoder, and most that came after it."""
FUSED = LLAMA | named("self_attn", q="qkv_proj", k="qkv_proj", v="qkv_proj")
GATE_AND_UP = named("mlp", gate="gate_up_proj", up="gate_up_proj")
PHI = LLAMA | named("self_attn", o="dense") | named("mlp", **_FIRST_AND_SECOND)
C_FC = named("mlp", up="c_fc", down="c_proj")
PERSIMMON = (
    LLAMA
    | named("self_attn", q="query_key_value", k="query_key_value", v="query_key_value", o="dense")
    | named("mlp", up="dense_h_to_4h", down="dense_4h_to_h")
)
GPT_NEOX = (
    layers("gpt_neox.layers", "lm_head|embed_out")
    | named("attention", q="query_key_value", k="query_key_value", v="query_key_value", o="dense")
    | named("mlp", up="dense_h_to_4h", down="dense_4h_to_h")
)
BLOOM = (
    _IN_GPT
    | named("self_attention", q="query_key_value", k="query_key_value", v="query_key_value")
    | named("self_attention", o="dense")
    | named("mlp", up="dense_h_to_4h", down="dense_4h_to_h")
)
GPT2 = _IN_GPT | named("attn", q="c_attn", k="c_attn", v="c_attn", o="c_proj") | C_FC
GPT_NEO = _IN_GPT | named("attn.attention", **_PLAIN, o="out_proj") | C_FC
GPTJ = _IN_GPT | named("attn", **_PLAIN, o="out_proj") | named("mlp", up="fc_in", down="fc_out")
CODEGEN = GPTJ | named("attn", q="qkv_proj", k="qkv_proj", v="qkv_proj")
MPT = (
    layers("transformer.blocks")
    | named("attn", q="Wqkv", k="Wqkv", v="Wqkv", o="out_proj")
    | named("ffn", up="up_proj", down="down_proj")
)
XGLM = layers("model.layers") | named("self_attn", **_PLAIN, o="out_proj") | _FIRST_AND_SECOND
OPT = (
    XGLM
    | layers("model.decoder.layers")
    | named("model.decoder", project_in="project_in", project_out="project_out")
)
MIXTRAL = LLAMA | {
    role: f"{name}|{_experts('block_sparse_moe', _MIXTRAL)[role]}"
    for role, name in _experts().items()
}
GRANITE_MOE = (
    LLAMA
    | named("block_sparse_moe", expert_gate="input_linear", expert_up="input_linear")
    | named("block_sparse_moe", expert_down="output_linear")
)
GPT_OSS = LLAMA | named(
    "mlp.experts", expert_gate="gate_up_proj", expert_up="gate_up_proj", expert_down="down_proj"
)
SHARED_EXPERT = (
    LLAMA
    | named("mlp.shared_expert", "shared_", **_GATED)
    | {"shared_switch": "mlp.shared_expert_gate"}
)
QWEN3_NEXT = (
    SHARED_EXPERT
    | named("linear_attn", delta_qkv="in_proj_qkvz", delta_z="in_proj_qkvz")
    | named("linear_attn", delta_b="in_proj_ba", delta_a="in_proj_ba", recurrent_out="out_proj")
)
QWEN3_5 = QWEN3_NEXT | named(
    "linear_attn",
    delta_qkv="in_proj_qkv",
    delta_z="in_proj_z",
    delta_b="in_proj_b",
    delta_a="in_proj_a",
)
LLAMA4 = (
    LLAMA
    | named("feed_forward", **_GATED)
    | _experts("feed_forward")
    | named("feed_forward.shared_expert", "shared_", **_GATED)
)
GEMMA4 = (
    LLAMA
    | named("experts.*", "expert_", **_GATED)
    | {"side_in": "per_layer_input_gate", "side_out": "per_layer_projection"}
    | named("model", project_sides="per_layer_model_projection")
)
MAMBA = layers("backbone.layers") | named(
    "mixer",
    recurrent_in="in_proj",
    recurrent_x="x_proj",
    recurrent_step="dt_proj",
    recurrent_out="out_proj",
)
NEMOTRON_H = (
    layers("model.layers|backbone.layers")
    | named("mixer", **_PLAIN, o="o_proj", recurrent_in="in_proj", recurrent_out="out_proj")
    | named("mixer", up="up_proj", down="down_proj")
    | named("mixer", latent_in="fc1_latent_proj", latent_out="fc2_latent_proj")
    | _experts("mixer")
    | named("mixer.shared_experts", "shared_", **_GATED)
)
JAMBA = (
    LLAMA
    | named("feed_forward", **_GATED)
    | _experts("feed_forward")
    | named("mamba", recurrent_in="in_proj", recurrent_x="x_proj")
    | named("mamba", recurrent_step="dt_proj", recurrent_out="out_proj")
)
_GRANITE_SHARED = {"gate": "input_linear", "up": "input_linear", "down": "output_linear"}
GRANITE_HYBRID = (
    LLAMA
    | _experts("block_sparse_moe")
    | named("shared_mlp", **_GRANITE_SHARED)
    | named("shared_mlp", "shared_", **_GRANITE_SHARED)
    | named("mamba", recurrent_in="in_proj", recurrent_out="out_proj")
)
LFM2 = (
    LLAMA
    | named("feed_forward", **_MIXTRAL)
    | named("self_attn", o="out_proj")
    | named("conv", recurrent_in="in_proj", recurrent_out="out_proj")
)
RECURRENT_GEMMA = (
    LLAMA
    | named("mlp_block", **_GATED)
    | named("temporal_block", **_PLAIN, o="o_proj", recurrent_out="linear_out")
    | named("temporal_block", recurrent_y="linear_y", recurrent_x="linear_x")
)
RWKV = (
    layers("rwkv.blocks", "head")
    | named("attention", k="key", v="value", recurrent_gate="receptance", recurrent_out="output")
    | named("feed_forward", up="key", down="value", receptance="receptance")
)
