"""GPT-Neo presets (Black et al. 2021): every second layer attends to the last 256 tokens only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from rmtscale.errors import BadInput
from rmtscale.specs.fields import ConfigFields
from rmtscale.specs.model import ModelSpec

_SIZES = {  # layers, heads, width
    "125m": (12, 12, 768),
    "1.3b": (24, 16, 2048),
    "2.7b": (32, 20, 2560),
}


def _spec(size: str) -> ModelSpec:
    layers, heads, width = _SIZES[size]
    return ModelSpec(
        name=f"gpt-neo-{size}",
        kind="gpt_neo",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=4 * width,
        vocabulary=50257,
        embedding_width=width,
        positions=2048,
        position_rows=2048,
        activation="gelu_new",
        qkv_bias=False,
        local_layers=layers // 2,
        local_window=256,
        hub_name=f"EleutherAI/gpt-neo-{size}",
        source="Black et al. 2021, released configs",
    )


PRESETS = {spec.name: spec for spec in map(_spec, _SIZES)}


def from_config(fields: ConfigFields) -> ModelSpec:
    """The spec of a config of this kind."""
    width, heads = fields.size("hidden_size"), fields.size("num_heads")
    layers, positions = fields.size("num_layers"), fields.size("max_position_embeddings")
    return ModelSpec(
        name=fields.name,
        kind="gpt_neo",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=fields.head_width("hidden_size", "num_heads"),
        mlp_width=fields.size("intermediate_size", 4 * width),
        vocabulary=fields.size("vocab_size"),
        embedding_width=width,
        positions=positions,
        position_rows=positions,
        activation=fields.word("activation_function", "gelu_new"),
        qkv_bias=False,
        tied_head=fields.flag("tie_word_embeddings", True),
        local_layers=_local_layers(fields, layers),
        local_window=fields.size("window_size", 256),
        hidden_dropout=fields.rate("resid_dropout"),
        attention_dropout=fields.rate("attention_dropout"),
    )


def to_config(spec: ModelSpec) -> dict[str, Any]:
    """The config that builds this spec."""
    # The released pattern alternates; any other has its global layers first.
    if 2 * spec.local_layers == spec.layers:
        attention_types: list[Any] = [[["global", "local"], spec.local_layers]]
    else:
        runs = {"global": spec.layers - spec.local_layers, "local": spec.local_layers}
        attention_types = [[[kind], times] for kind, times in runs.items() if times]
    return {
        "hidden_size": spec.width,
        "num_layers": spec.layers,
        "num_heads": spec.heads,
        "intermediate_size": spec.mlp_width,
        "vocab_size": spec.vocabulary,
        "max_position_embeddings": spec.positions,
        "activation_function": spec.activation,
        "attention_types": attention_types,
        "window_size": spec.local_window,
        "tie_word_embeddings": spec.tied_head,
        "resid_dropout": spec.hidden_dropout,
        "embed_dropout": spec.hidden_dropout,
        "attention_dropout": spec.attention_dropout,
    }


def _local_layers(fields: ConfigFields, layers: int) -> int:
    config = fields.config
    listed, types = config.get("attention_layers"), config.get("attention_types")
    return layer_kinds(listed, types, layers, fields.name).count("local")


def layer_kinds(listed: object, types: object, layers: int, name: str) -> list[str]:
    """Returns the attention of each layer, ``global`` or ``local``.

    Args:
        listed: GPT-Neo's ``attention_layers``, which counts where it is there.
        types: ``attention_types`` as [[kinds], times].
        layers: of the model.
        name: of the model, for messages.

    Raises:
        BadInput: other names, or not one for each layer.
    """
    pattern: list[Any] = []
    try:
        for kinds, times in cast("Iterable[Any]", types or []):
            # One more than there should be is enough to be told.
            pattern += list(kinds)[: layers + 1] * min(int(times), layers + 1)
            if len(pattern) > layers:
                break
        pattern = list(cast("Iterable[Any]", listed or pattern))
    except (TypeError, ValueError, OverflowError):
        pattern = []
    if len(pattern) != layers or not all(kind in ("global", "local") for kind in pattern):
        raise BadInput(
            f"model {name!r}: attention_types name {len(pattern)} layers, expected "
            f"{layers} of 'global' or 'local'"
        )
    return pattern
