"""How one layer of a decoder or encoder is written, as far as its operators depend on it.

Read of the six families, and of the types whose layers are those of Llama.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rmtscale.costs.written import how_written
from rmtscale.specs.attention import Attention
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.layers import FeedForward, Layer
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """The settings that a layer's tape depends on."""

    kind: str
    width: int
    heads: int
    kv_heads: int
    head_width: int
    inner: int
    gated: bool
    activation: str
    rms: bool
    rotary: bool
    fused_projection: bool
    """One matrix makes query, key and value (GPT-2, Pythia)."""
    names: tuple[str, str, str, str, str, str, str]
    """Names of the linear layers: query, key, value, output, up, gate, down."""
    post_norm: bool = False
    parallel: bool = False
    qk_norm: str = "none"
    experts: int = 0
    active: int = 0
    normed_shares: bool = False
    """Whether the shares of a token's experts are made to sum to one."""
    cast_shares: bool = True
    """Whether they are cast back from fp32."""
    hidden_dropout: bool = False
    attention_dropout: bool = False
    fp32_softmax: bool = True
    block_held: int = 3
    """Tensors that are held through a feed-forward (``Written.block_held``)."""
    dropout_behind: bool = False
    eager: bool = False
    causal: bool = True
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    rotary_width: int = 0
    """How much of each head is rotated."""
    window: int = 0

    @property
    def query(self) -> int:
        return self.heads * self.head_width

    @property
    def keys(self) -> int:
        return self.kv_heads * self.head_width


TAPED_KINDS = frozenset(
    {
        *("granite", "ministral", "mistral", "mixtral", "olmoe", "qwen2", "qwen3", "qwen3_moe"),
        "smollm3",
    }
)
"""Types whose layers are those of Llama, with norms of heads or experts at most: a test holds
what their real modules keep against the tape."""


ALWAYS_NORMED = frozenset({"mixtral"})
"""Mixtures that norm a token's shares whatever the config says, and leave them in fp32."""


_PLAIN = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "gate_proj", "down_proj")


_NAMES = {
    "gpt2": ("c_attn", "", "", "c_proj", "c_fc", "", "c_proj"),
    "gpt_neo": ("q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "", "c_proj"),
    "gpt_neox": ("query_key_value", "", "", "dense", "dense_h_to_4h", "", "dense_4h_to_h"),
    "opt": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "", "fc2"),
}


def plain_layer(model: ModelSpec, *, eager: bool, dropout: bool) -> LayerShape:
    """Returns the layer of one of the six families."""
    return LayerShape(
        kind=model.kind,
        width=model.width,
        heads=model.heads,
        kv_heads=model.kv_heads,
        head_width=model.head_width,
        inner=model.mlp_width,
        gated=model.gated_mlp,
        activation=model.activation,
        rms=model.norm == "rms",
        rotary=bool(model.rotary_width),
        fused_projection=model.kind in ("gpt2", "gpt_neox"),
        names=_NAMES.get(model.kind, _PLAIN),
        post_norm=model.post_norm,
        parallel=model.parallel_blocks,
        hidden_dropout=dropout and model.hidden_dropout > 0,
        attention_dropout=dropout and model.attention_dropout > 0,
        fp32_softmax=how_written(model).fp32_softmax,
        block_held=how_written(model).block_held,
        dropout_behind=how_written(model).dropout_behind,
        eager=eager or model.kind == "gpt_neo",
        causal=model.decoder,
        qkv_bias=model.qkv_bias,
        output_bias=model.output_bias,
        mlp_bias=model.mlp_bias,
        rotary_width=model.rotary_width,
    )


def taped_layers(model: LayeredSpec, size: int, *, eager: bool) -> tuple[LayerShape, int] | None:
    """Returns the layer that a model consists of, and how many there are; None where there are
    several kinds of layers, or one that the tape does not have: then only a bound is known."""
    shapes = {
        None if 0 < _window(layer) < size else _layered(model, layer, eager)
        for layer, _ in model.groups
    }
    if len(shapes) != 1 or model.encoder_groups or model.shared_layers or not model.causal:
        return None
    (shape,) = shapes
    if shape is None or model.projected_embedding or model.head_shape.title != "language model":
        return None
    return shape, model.layers


def _window(layer: Layer) -> int:
    return layer.mixer.window if isinstance(layer.mixer, Attention) else 0


@lru_cache(maxsize=64)
def _fields(config: str) -> dict[str, Any]:
    """Returns what a config says; read only."""
    found: dict[str, Any] = json.loads(config or "{}")
    return found


def _layered(model: LayeredSpec, layer: Layer, eager: bool) -> LayerShape | None:
    mixer, block = layer.mixer, layer.feed_forward
    config = _fields(model.config)
    known = model.kind in TAPED_KINDS and layer.norms == 2 and model.norm_parts == 1
    if not known or not isinstance(mixer, Attention):
        return None
    odd = (
        *(mixer.kv_rank, mixer.reuses_keys, mixer.keys_are_values, mixer.output_gate, mixer.sinks),
        *(mixer.index_heads, mixer.added_positions, mixer.bias_apart, layer.cross, layer.vectors),
        *(block.shared, block.latent, block.dense_beside, block.side, block.all_multiplied),
        *(mixer.value != mixer.head_width, mixer.qk_norm == "heads", not block.gated),
    )
    if any(odd) or block == FeedForward(inner=0):
        return None
    return LayerShape(
        kind="llama",
        width=model.width,
        heads=mixer.heads,
        kv_heads=mixer.kv_heads,
        head_width=mixer.head_width,
        inner=block.inner,
        gated=True,
        activation="silu",
        rms=True,
        rotary=True,
        fused_projection=False,
        names=_PLAIN,
        qk_norm=mixer.qk_norm,
        experts=block.experts,
        active=block.active,
        normed_shares=model.kind in ALWAYS_NORMED or bool(config.get("norm_topk_prob")),
        cast_shares=model.kind not in ALWAYS_NORMED,
        eager=eager,
        qkv_bias=mixer.qkv_bias,
        output_bias=mixer.output_bias,
        rotary_width=mixer.head_width,
    )
