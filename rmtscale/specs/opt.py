"""OPT presets (Zhang et al. 2022, arXiv 2205.01068, Table 1).

OPT-350M is the odd one: embeddings of 512 projected to 1024 and back, and norms after the blocks.
"""

from __future__ import annotations

from typing import Any

from rmtscale.specs.fields import ConfigFields
from rmtscale.specs.model import ModelSpec

_SIZES = {  # layers, heads, width
    "125m": (12, 12, 768),
    "350m": (24, 16, 1024),
    "1.3b": (24, 32, 2048),
    "2.7b": (32, 32, 2560),
    "6.7b": (32, 32, 4096),
    "13b": (40, 40, 5120),
    "30b": (48, 56, 7168),
    "66b": (64, 72, 9216),
    "175b": (96, 96, 12288),
}


def _spec(size: str) -> ModelSpec:
    layers, heads, width = _SIZES[size]
    post_norm = size == "350m"
    return ModelSpec(
        name=f"opt-{size}",
        kind="opt",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=4 * width,
        vocabulary=50272,
        embedding_width=512 if post_norm else width,
        positions=2048,
        position_rows=2050,
        activation="relu",
        post_norm=post_norm,
        final_norm=not post_norm,
        hidden_dropout=0.1,
        # The 175B weights were never on the hub; its shape is the paper's.
        hub_name=None if size == "175b" else f"facebook/opt-{size}",
        source="Zhang et al. 2022, Table 1",
    )


PRESETS = {spec.name: spec for spec in map(_spec, _SIZES)}


def from_config(fields: ConfigFields) -> ModelSpec:
    """The spec of a config of this kind."""
    width, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    positions = fields.size("max_position_embeddings")
    pre_norm = fields.flag("do_layer_norm_before", True)
    bias = fields.flag("enable_bias", True)
    fields.refuse("layer_norm_elementwise_affine", True, "norms without weights are not supported")
    return ModelSpec(
        name=fields.name,
        kind="opt",
        layers=fields.size("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=fields.head_width("hidden_size", "num_attention_heads"),
        mlp_width=fields.size("ffn_dim"),
        vocabulary=fields.size("vocab_size"),
        embedding_width=fields.size("word_embed_proj_dim", width),
        positions=positions,
        position_rows=positions + 2,
        activation=fields.word("activation_function", "relu"),
        post_norm=not pre_norm,
        final_norm=pre_norm and not fields.flag("_remove_final_layer_norm", False),
        qkv_bias=bias,
        output_bias=bias,
        mlp_bias=bias,
        tied_head=fields.flag("tie_word_embeddings", True),
        hidden_dropout=fields.rate("dropout", 0.1),
        attention_dropout=fields.rate("attention_dropout"),
    )


def to_config(spec: ModelSpec) -> dict[str, Any]:
    """The config that builds this spec."""
    return {
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "ffn_dim": spec.mlp_width,
        "vocab_size": spec.vocabulary,
        "word_embed_proj_dim": spec.embedding_width,
        "max_position_embeddings": spec.positions,
        "activation_function": spec.activation,
        "do_layer_norm_before": not spec.post_norm,
        "_remove_final_layer_norm": not spec.post_norm and not spec.final_norm,
        "enable_bias": spec.mlp_bias,
        "tie_word_embeddings": spec.tied_head,
        "dropout": spec.hidden_dropout,
        "attention_dropout": spec.attention_dropout,
    }
