"""Pythia presets (Biderman et al. 2023, Table 1): rotary, parallel blocks, untied head."""

from __future__ import annotations

from typing import Any

from rmtscale.errors import BadInput
from rmtscale.specs.fields import ConfigFields
from rmtscale.specs.model import ModelSpec

_SIZES = {  # layers, heads, width, vocabulary (padded further for the two largest)
    "14m": (6, 4, 128, 50304),
    "31m": (6, 8, 256, 50304),
    "70m": (6, 8, 512, 50304),
    "160m": (12, 12, 768, 50304),
    "410m": (24, 16, 1024, 50304),
    "1b": (16, 8, 2048, 50304),
    "1.4b": (24, 16, 2048, 50304),
    "2.8b": (32, 32, 2560, 50304),
    "6.9b": (32, 32, 4096, 50432),
    "12b": (36, 40, 5120, 50688),
}


def _spec(size: str) -> ModelSpec:
    layers, heads, width, vocabulary = _SIZES[size]
    return ModelSpec(
        name=f"pythia-{size}",
        kind="gpt_neox",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=4 * width,
        vocabulary=vocabulary,
        embedding_width=width,
        rotary_width=width // heads // 4,
        activation="gelu",
        parallel_blocks=True,
        tied_head=False,
        hub_name=f"EleutherAI/pythia-{size}",
        source="Biderman et al. 2023, Table 1; vocabularies of the released checkpoints",
    )


PRESETS = {spec.name: spec for spec in map(_spec, _SIZES)}


def from_config(fields: ConfigFields) -> ModelSpec:
    """The spec of a config of this kind."""
    heads = fields.size("num_attention_heads")
    head_width = fields.head_width("hidden_size", "num_attention_heads")
    bias = fields.flag("attention_bias", True)
    rope = fields.config.get("rope_parameters") or {}
    share = rope.get("partial_rotary_factor", fields.config.get("rotary_pct", 0.25))
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise BadInput(f"model {fields.name!r}: rotary_pct is {share!r}, expected above 0, up to 1")
    return ModelSpec(
        name=fields.name,
        kind="gpt_neox",
        layers=fields.size("num_hidden_layers"),
        width=fields.size("hidden_size"),
        heads=heads,
        kv_heads=heads,
        head_width=head_width,
        mlp_width=fields.size("intermediate_size"),
        vocabulary=fields.size("vocab_size"),
        embedding_width=fields.size("hidden_size"),
        rotary_width=int(head_width * share),
        activation=fields.word("hidden_act", "gelu"),
        qkv_bias=bias,
        output_bias=bias,
        parallel_blocks=fields.flag("use_parallel_residual", True),
        tied_head=fields.flag("tie_word_embeddings", False),
        hidden_dropout=fields.rate("hidden_dropout"),
        attention_dropout=fields.rate("attention_dropout"),
    )


def to_config(spec: ModelSpec) -> dict[str, Any]:
    """The config that builds this spec."""
    return {
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.mlp_width,
        "vocab_size": spec.vocabulary,
        "hidden_act": spec.activation,
        "rotary_pct": spec.rotary_width / spec.head_width,
        "attention_bias": spec.qkv_bias,
        "use_parallel_residual": spec.parallel_blocks,
        "tie_word_embeddings": spec.tied_head,
        "hidden_dropout": spec.hidden_dropout,
        "attention_dropout": spec.attention_dropout,
    }
