"""BERT presets (Devlin et al. 2019, section 3) with the classification head an RMT puts on them."""

from __future__ import annotations

from typing import Any

from rmtscale.specs.fields import ConfigFields
from rmtscale.specs.model import ModelSpec

_SIZES = {"base": (12, 12, 768), "large": (24, 16, 1024)}  # layers, heads, width
_VOCABULARIES = {"uncased": 30522, "cased": 28996}


def _spec(size: str, case: str) -> ModelSpec:
    layers, heads, width = _SIZES[size]
    return ModelSpec(
        name=f"bert-{size}-{case}",
        kind="bert",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=4 * width,
        vocabulary=_VOCABULARIES[case],
        embedding_width=width,
        positions=512,
        position_rows=512,
        token_types=2,
        activation="gelu",
        post_norm=True,
        final_norm=False,
        embedding_norm=True,
        head="classification",
        labels=2,
        hidden_dropout=0.1,
        attention_dropout=0.1,
        hub_name=f"google-bert/bert-{size}-{case}",
        source="Devlin et al. 2019, section 3; vocabularies of the released checkpoints",
    )


PRESETS = {
    spec.name: spec for spec in (_spec(size, case) for size in _SIZES for case in _VOCABULARIES)
}


def from_config(fields: ConfigFields) -> ModelSpec:
    """The spec of a config of this kind."""
    width, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    positions = fields.size("max_position_embeddings")
    labels = fields.config.get("id2label")
    fields.refuse("is_decoder", False, "a BERT decoder is not supported")
    return ModelSpec(
        name=fields.name,
        kind="bert",
        layers=fields.size("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=fields.head_width("hidden_size", "num_attention_heads"),
        mlp_width=fields.size("intermediate_size"),
        vocabulary=fields.size("vocab_size"),
        embedding_width=width,
        positions=positions,
        position_rows=positions,
        token_types=fields.size("type_vocab_size", 2),
        activation=fields.word("hidden_act", "gelu"),
        post_norm=True,
        final_norm=False,
        embedding_norm=True,
        head="classification",
        labels=len(labels) if labels else 2,
        hidden_dropout=fields.rate("hidden_dropout_prob", 0.1),
        attention_dropout=fields.rate("attention_probs_dropout_prob", 0.1),
    )


def to_config(spec: ModelSpec) -> dict[str, Any]:
    """The config that builds this spec."""
    return {
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.mlp_width,
        "vocab_size": spec.vocabulary,
        "max_position_embeddings": spec.positions,
        "type_vocab_size": spec.token_types,
        "hidden_act": spec.activation,
        "id2label": {index: f"LABEL_{index}" for index in range(spec.labels)},
        "hidden_dropout_prob": spec.hidden_dropout,
        "attention_probs_dropout_prob": spec.attention_dropout,
    }
