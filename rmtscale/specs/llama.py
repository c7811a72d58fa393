"""Llama 2 and 3 presets: grouped-query attention, gated feed-forward, no biases.

Touvron et al. 2023 (arXiv 2307.09288, Table 1 and appendix A.2.1) and Grattafiori et al. 2024
(arXiv 2407.21783, Table 3); feed-forward widths and vocabularies of the released checkpoints.
"""

from __future__ import annotations

from typing import Any

from rmtscale.errors import BadInput
from rmtscale.specs.fields import ConfigFields
from rmtscale.specs.model import ModelSpec

_LLAMA_2 = "Touvron et al. 2023 (Llama 2), Table 1"
_LLAMA_3 = "Grattafiori et al. 2024 (Llama 3), Table 3"
_SIZES = {  # layers, heads, kv heads, width, mlp width, vocabulary, tied, hub name, source
    "llama-2-7b": (32, 32, 32, 4096, 11008, 32000, False, "Llama-2-7b-hf", _LLAMA_2),
    "llama-2-13b": (40, 40, 40, 5120, 13824, 32000, False, "Llama-2-13b-hf", _LLAMA_2),
    "llama-2-70b": (80, 64, 8, 8192, 28672, 32000, False, "Llama-2-70b-hf", _LLAMA_2),
    "llama-3-8b": (32, 32, 8, 4096, 14336, 128256, False, "Meta-Llama-3-8B", _LLAMA_3),
    "llama-3-70b": (80, 64, 8, 8192, 28672, 128256, False, "Meta-Llama-3-70B", _LLAMA_3),
    "llama-3.1-405b": (126, 128, 8, 16384, 53248, 128256, False, "Llama-3.1-405B", _LLAMA_3),
    "llama-3.2-1b": (16, 32, 8, 2048, 8192, 128256, True, "Llama-3.2-1B", "released config"),
    "llama-3.2-3b": (28, 24, 8, 3072, 8192, 128256, True, "Llama-3.2-3B", "released config"),
}


def _spec(name: str) -> ModelSpec:
    layers, heads, kv_heads, width, mlp_width, vocabulary, tied, hub, source = _SIZES[name]
    return ModelSpec(
        name=name,
        kind="llama",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=width // heads,
        mlp_width=mlp_width,
        vocabulary=vocabulary,
        embedding_width=width,
        rotary_width=width // heads,
        gated_mlp=True,
        activation="silu",
        norm="rms",
        qkv_bias=False,
        output_bias=False,
        mlp_bias=False,
        tied_head=tied,
        hub_name=f"meta-llama/{hub}",
        source=source,
    )


PRESETS = {spec.name: spec for spec in map(_spec, _SIZES)}


def from_config(fields: ConfigFields) -> ModelSpec:
    """The spec of a config of this kind."""
    heads = fields.size("num_attention_heads")
    kv_heads = fields.size("num_key_value_heads", heads)
    if heads % kv_heads:
        raise BadInput(
            f"model {fields.name!r}: num_key_value_heads is {kv_heads}, expected a divisor of "
            f"num_attention_heads ({heads})"
        )
    if fields.config.get("head_dim") is None:
        head_width = fields.head_width("hidden_size", "num_attention_heads")
    else:
        head_width = fields.size("head_dim")
    bias = fields.flag("attention_bias", False)
    return ModelSpec(
        name=fields.name,
        kind="llama",
        layers=fields.size("num_hidden_layers"),
        width=fields.size("hidden_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        mlp_width=fields.size("intermediate_size"),
        vocabulary=fields.size("vocab_size"),
        embedding_width=fields.size("hidden_size"),
        rotary_width=head_width,
        gated_mlp=True,
        activation=fields.word("hidden_act", "silu"),
        norm="rms",
        qkv_bias=bias,
        output_bias=bias,
        mlp_bias=fields.flag("mlp_bias", False),
        tied_head=fields.flag("tie_word_embeddings", False),
        attention_dropout=fields.rate("attention_dropout"),
    )


def to_config(spec: ModelSpec) -> dict[str, Any]:
    """The config that builds this spec."""
    return {
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_width,
        "intermediate_size": spec.mlp_width,
        "vocab_size": spec.vocabulary,
        "hidden_act": spec.activation,
        "attention_bias": spec.qkv_bias,
        "mlp_bias": spec.mlp_bias,
        "tie_word_embeddings": spec.tied_head,
        "attention_dropout": spec.attention_dropout,
    }
