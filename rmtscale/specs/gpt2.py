"""GPT-2 presets (Radford et al. 2019, Table 2; vocabulary and dropout of the released configs)."""

from __future__ import annotations

from typing import Any

from rmtscale.specs.fields import ConfigFields
from rmtscale.specs.model import ModelSpec

_SIZES = {  # layers, heads, width
    "gpt2": (12, 12, 768),
    "gpt2-medium": (24, 16, 1024),
    "gpt2-large": (36, 20, 1280),
    "gpt2-xl": (48, 25, 1600),
}


def _spec(name: str) -> ModelSpec:
    layers, heads, width = _SIZES[name]
    return ModelSpec(
        name=name,
        kind="gpt2",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=4 * width,
        vocabulary=50257,
        embedding_width=width,
        positions=1024,
        position_rows=1024,
        activation="gelu_new",
        hidden_dropout=0.1,
        attention_dropout=0.1,
        hub_name=f"openai-community/{name}",
        source="Radford et al. 2019, Table 2",
    )


PRESETS = {spec.name: spec for spec in map(_spec, _SIZES)}


def from_config(fields: ConfigFields) -> ModelSpec:
    """The spec of a config of this kind."""
    width, heads = fields.size("n_embd"), fields.size("n_head")
    positions = fields.size("n_positions")
    fields.refuse("add_cross_attention", False, "cross-attention is not supported")
    return ModelSpec(
        name=fields.name,
        kind="gpt2",
        layers=fields.size("n_layer"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=fields.head_width("n_embd", "n_head"),
        mlp_width=fields.size("n_inner", 4 * width),
        vocabulary=fields.size("vocab_size"),
        embedding_width=width,
        positions=positions,
        position_rows=positions,
        activation=fields.word("activation_function", "gelu_new"),
        tied_head=fields.flag("tie_word_embeddings", True),
        hidden_dropout=fields.rate("resid_pdrop", 0.1),
        attention_dropout=fields.rate("attn_pdrop", 0.1),
    )


def to_config(spec: ModelSpec) -> dict[str, Any]:
    """The config that builds this spec."""
    return {
        "n_embd": spec.width,
        "n_layer": spec.layers,
        "n_head": spec.heads,
        "n_inner": spec.mlp_width,
        "vocab_size": spec.vocabulary,
        "n_positions": spec.positions,
        "activation_function": spec.activation,
        "tie_word_embeddings": spec.tied_head,
        "resid_pdrop": spec.hidden_dropout,
        "embd_pdrop": spec.hidden_dropout,
        "attn_pdrop": spec.attention_dropout,
    }
