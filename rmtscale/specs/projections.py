"""The linear layers inside a model's blocks, by the names that their modules have.

They are what LoRA is put on. Experts that share one three-dimensional tensor are no linear layers,
and a router is none either: ``peft`` leaves them alone, and so does this.
"""

from __future__ import annotations

from typing import NamedTuple

from rmtscale.errors import BadInput, quoted_list
from rmtscale.specs.adapter import ALL, ATTENTION, Adapter
from rmtscale.specs.attention import Attention
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec

FEED_FORWARD = "feed-forward"


class Projection(NamedTuple):
    """One linear layer of a block."""

    name: str
    """The name of its module: ``q_proj``."""
    inner: int
    outer: int
    part: str
    """``attention`` or ``feed-forward``."""
    layers: int = 1
    """How many layers have it."""

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of a LoRA on it, all layers."""
        return self.layers * rank * (self.inner + self.outer)


_NAMES = {  # query, key, value, output; up, gate, down
    "gpt_neo": (("q_proj", "k_proj", "v_proj", "out_proj"), ("c_fc", "", "c_proj")),
    "llama": (("q_proj", "k_proj", "v_proj", "o_proj"), ("up_proj", "gate_proj", "down_proj")),
    "opt": (("q_proj", "k_proj", "v_proj", "out_proj"), ("fc1", "", "fc2")),
}
_FUSED = {
    "gpt2": (("c_attn", "c_proj"), ("c_fc", "c_proj")),
    "gpt_neox": (("query_key_value", "dense"), ("dense_h_to_4h", "dense_4h_to_h")),
}
"""Families with one matrix for query, key and value."""


def projections(model: ModelSpec) -> tuple[Projection, ...]:
    """Returns the linear layers of the blocks.

    Raises:
        BadInput: a model whose linear layers' names are not known.
    """
    if isinstance(model, LayeredSpec):
        return _layered(model)
    width, query, kv, inner = model.width, model.query_width, model.kv_width, model.mlp_width
    layers = model.layers
    if model.kind in _FUSED:
        (first, second), (up, down) = _FUSED[model.kind]
        return (
            Projection(first, width, query + 2 * kv, ATTENTION, layers),
            Projection(second, query, width, ATTENTION, layers),
            Projection(up, width, inner, FEED_FORWARD, layers),
            Projection(down, inner, width, FEED_FORWARD, layers),
        )
    if model.kind == "bert":
        raise BadInput(
            f"adapter on {model.name!r}: expected a decoder, or a parallel adapter (the names of "
            "an encoder's linear layers are not known)"
        )
    (q, k, v, o), feed_forward = _NAMES[model.kind]
    up, gate, down = feed_forward
    return (
        *_attention((q, k, v, o), width, query, kv, kv, layers),
        *_block((up, gate, down), width, inner, model.gated_mlp, layers),
    )


def _attention(
    names: tuple[str, str, str, str], width: int, query: int, keys: int, values: int, layers: int
) -> tuple[Projection, ...]:
    q, k, v, o = names
    return (
        Projection(q, width, query, ATTENTION, layers),
        Projection(k, width, keys, ATTENTION, layers),
        Projection(v, width, values, ATTENTION, layers),
        Projection(o, query, width, ATTENTION, layers),
    )


def _block(
    names: tuple[str, str, str], width: int, inner: int, gated: bool, layers: int
) -> tuple[Projection, ...]:
    up, gate, down = names
    made = [Projection(up, width, inner, FEED_FORWARD, layers)]
    if gated:
        made.append(Projection(gate, width, inner, FEED_FORWARD, layers))
    return (*made, Projection(down, inner, width, FEED_FORWARD, layers))


def _layered(model: LayeredSpec) -> tuple[Projection, ...]:
    """Those of a decoder built as Llama is: Qwen, Mistral, OLMo, and mixtures of such."""
    made: list[Projection] = []
    attention, feed_forward = _NAMES["llama"]
    for layer, count in model.groups:
        mixer, block = layer.mixer, layer.feed_forward
        plain = isinstance(mixer, Attention) and not (mixer.kv_rank or mixer.reuses_keys)
        if not plain or not isinstance(mixer, Attention) or model.encoder_groups:
            raise BadInput(
                f"adapter on {model.name!r}: expected a decoder whose layers all have plain "
                "attention (the names of other linear layers are not known)"
            )
        query, keys = mixer.heads * mixer.head_width, mixer.kv_heads * mixer.head_width
        values, out = mixer.kv_heads * mixer.value, mixer.heads * mixer.value
        q, k, v, o = attention
        made += [
            Projection(q, model.width, query, ATTENTION, count),
            Projection(k, model.width, keys, ATTENTION, count),
            Projection(v, model.width, values, ATTENTION, count),
            Projection(o, out, model.width, ATTENTION, count),
        ]
        if block.inner and not block.experts:
            names = (feed_forward[0], feed_forward[1], feed_forward[2])
            made += _block(names, model.width, block.inner, block.gated, count)
    return tuple(made)


def targeted(model: ModelSpec, adapter: Adapter) -> tuple[Projection, ...]:
    """Returns the linear layers that a LoRA is put on.

    Raises:
        BadInput: names that the model does not have; names those it has.
    """
    every = projections(model)
    if adapter.targets == ALL:
        return every
    if adapter.targets == ATTENTION:
        return tuple(one for one in every if one.part == ATTENTION)
    names = [name.strip() for name in adapter.targets.split(",")]
    known = {one.name for one in every}
    for name in names:
        if name not in known:
            raise BadInput(
                f"adapter targets {name!r}: expected attention, all, or names among "
                f"{quoted_list(sorted(known))}"
            )
    return tuple(one for one in every if one.name in names)
