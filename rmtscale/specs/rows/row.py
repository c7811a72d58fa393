"""A row: its fields, and how a config is read by it.

A row holds the axes in which a type differs from the plain decoder (Llama): constants, names of
fields, or small functions of the fields where a type is odd. Adding a type is adding a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rmtscale.errors import BadInput
from rmtscale.specs.attention import Attention
from rmtscale.specs.layered import HeadShape, LayeredSpec
from rmtscale.specs.layers import FeedForward, Layer, grouped
from rmtscale.specs.parts import Matrix, Part
from rmtscale.specs.rows.fields import Fields
from rmtscale.specs.rows.modules import LLAMA, Modules

Switch = bool | str | Callable[[Fields], bool]
"""A constant, the name of a field that is true or false, or a function."""

STANDARD = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_width": "head_dim",
    "inner": "intermediate_size",
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
}
"""Where a size stands in most configs."""


@dataclass(frozen=True, kw_only=True)
class Experts:
    """How a type names its mixture of experts."""

    experts: str = "num_experts"
    active: str = "num_experts_per_tok"
    inner: str = "moe_intermediate_size"
    expert_bias: bool = False
    router_bias: bool = False
    shared: Callable[[Fields, int], int] = lambda fields, inner: 0
    """Width of the experts that every token passes through, from the width of one."""
    shared_gate: bool = False
    shared_bias: bool = False
    """Those have the biases of a dense block, if it has any."""
    dense: Callable[[Fields, int], bool] = lambda fields, index: False
    """Whether a layer is dense instead."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One ``model_type``."""

    prefix: str
    """Prefix of its classes in Transformers: ``Qwen2`` of ``Qwen2ForCausalLM``."""
    other_prefixes: tuple[str, ...] = ()
    """Other names that its classes go by."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values that the class takes for a field that is absent."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Where a size stands, if not where it does in most."""
    synonyms: Mapping[str, str] = field(default_factory=dict)
    """Other names of a field that the class takes too."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Fields that the class sets itself, whatever a config says."""
    written_like: str = ""
    """Family of ``costs.written`` whose modules are its own but for the shape."""
    harmless: str = ""
    """Its fields that change neither parameters nor products."""
    encoder: bool = False
    gated: bool = True
    norm_parts: Literal[0, 1, 2] = 1
    """Vectors of a norm: none, a weight, a weight and a bias."""
    norms: int | Callable[[Fields], int] = 2
    """Norms of a layer."""
    final_norm: bool = True
    embedding_norm: bool = False
    qkv_bias: Switch = False
    key_bias: bool | None = None
    output_bias: Switch = False
    mlp_bias: Switch = False
    qk_norm: str | Callable[[Fields], str] = "none"
    qk_norm_parts: int = 1
    added_positions: Switch = False
    bias_apart: bool = False
    sinks: bool = False
    output_gate: bool = False
    head_bias: Switch = False
    heads_table: Mapping[str, Callable[[Fields, LayeredSpec], HeadShape]] = field(
        default_factory=dict
    )
    """Heads of its own, by what stands behind the prefix in the class's name."""
    default_class: str = "ForCausalLM"
    """The head that is built where ``architectures`` says nothing."""
    positions: Callable[[Fields], int] = lambda fields: 0
    """Rows of tables besides the tokens', as wide as the embedding."""
    embedding_width: Callable[[Fields, int], int] = lambda fields, width: width
    embedding_bias: bool = False
    kv_heads: Callable[[Fields, int], int] | None = None
    head_width: Callable[[Fields, int, int], int] | None = None
    inner: Callable[[Fields, int], int] | None = None
    window: Callable[[Fields, int, int], int] = lambda fields, index, layers: 0
    """How far a layer looks back, by its number; 0 is to the start."""
    latent: bool = False
    """Multi-head latent attention."""
    experts: Experts | None = None
    layers: Callable[[Fields, Row, int], list[Layer]] | None = None
    """All layers, where they are no attention and feed-forward."""
    adjust: Callable[[Fields, LayeredSpec], LayeredSpec] = lambda fields, spec: spec
    """Finds whatever else is odd."""
    variant: Callable[[str, Fields, LayeredSpec], LayeredSpec] = lambda name, fields, spec: spec
    """Parts that one of its classes has in place of the whole, by what stands behind the prefix."""
    modules: Modules | None = field(default_factory=lambda: LLAMA)
    """Names of its linear layers, for what a quantisation leaves out; None: not known."""
    read: Callable[[Fields, Row], LayeredSpec] | None = None
    """A whole model that is no stack of layers (an encoder and a decoder)."""

    def field_of(self, axis: str) -> str:
        return self.names.get(axis, STANDARD[axis])


def switch(fields: Fields, value: Switch) -> bool:
    if isinstance(value, bool):
        return value
    return fields.flag(value) if isinstance(value, str) else value(fields)


def read_row(row: Row, fields: Fields) -> LayeredSpec:
    """The shape of a config, its head apart.

    Raises:
        BadInput: a field that is missing or wrong.
    """
    if row.read is not None:
        return row.read(fields, row)
    width = fields.size(row.field_of("width"))
    count = fields.size(row.field_of("layers"))
    layers = (row.layers or plain_layers)(fields, row, count)
    embedding = row.embedding_width(fields, width)
    outer: tuple[Matrix, ...] = ()
    if embedding != width:
        roles = (("project_in", width),)
        outer = (Matrix("projection", embedding, width, row.embedding_bias, roles=roles),)
    spec = layered(
        fields.name,
        width=width,
        embedding_width=embedding,
        vocabulary=fields.size(row.field_of("vocabulary")),
        layers=layers,
        tables=row.positions(fields) * embedding,
        outer=outer,
        outer_vectors=row.norm_parts * (row.final_norm * width + row.embedding_norm * embedding),
        norm_parts=row.norm_parts,
        causal=not row.encoder,
        tied_head=fields.flag("tie_word_embeddings"),
    )
    if row.written_like:
        spec = replace(
            spec,
            written_like=row.written_like,
            activation=fields.word("hidden_act") if fields.get("hidden_act") else "silu",
            gated_mlp=row.gated,
            rotary_width=spec.head_width,
            attention_dropout=fields.get("attention_dropout") or 0.0,
        )
    return row.adjust(fields, spec)


def layered(name: str, *, layers: list[Layer], **values: Any) -> LayeredSpec:
    """A spec of these layers; its summary from the first attention and the widest block."""
    attention = next((layer.mixer for layer in layers if isinstance(layer.mixer, Attention)), None)
    heads, kv_heads, head_width = 1, 1, values["width"]
    qkv_bias = output_bias = False
    if attention is not None:
        heads, kv_heads = attention.heads, attention.kv_heads
        head_width = attention.head_width
        qkv_bias, output_bias = attention.qkv_bias, attention.output_bias
    inner = max((layer.feed_forward.inner for layer in layers), default=0)
    norm: Any = "layer" if values.get("norm_parts", 1) == 2 else "rms"
    return LayeredSpec(
        name=name,
        kind="",
        layers=len(layers) + sum(count for _, count in values.get("encoder_groups", ())),
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        mlp_width=inner or values["width"],
        groups=grouped(layers),
        head_shape=HeadShape("none"),
        norm=norm,
        qkv_bias=qkv_bias,
        output_bias=output_bias,
        **values,
    )


def plain_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    """Layers of one attention and one feed-forward each."""
    norms = row.norms(fields) if callable(row.norms) else row.norms
    return [
        Layer(attention_of(fields, row, index, count), feed_forward_of(fields, row, index), norms)
        for index in range(count)
    ]


def attention_of(fields: Fields, row: Row, index: int, count: int) -> Part:
    """The attention of one layer."""
    if row.latent:
        return latent_attention(fields, row)
    width = fields.size(row.field_of("width"))
    heads = fields.size(row.field_of("heads"))
    if row.kv_heads is not None:
        kv_heads = row.kv_heads(fields, heads)
    else:
        kv_heads = fields.size(row.field_of("kv_heads"), heads)
    if heads % kv_heads:
        raise BadInput(
            f"model {fields.name!r}: {row.field_of('kv_heads')} is {kv_heads}, expected a divisor "
            f"of {row.field_of('heads')} ({heads})"
        )
    if row.head_width is not None:
        head_width = row.head_width(fields, width, heads)
    elif fields.get(row.field_of("head_width")) is None:
        head_width = fields.divided(row.field_of("width"), row.field_of("heads"))
    else:
        head_width = fields.size(row.field_of("head_width"))
    qk_norm: Any = row.qk_norm(fields) if callable(row.qk_norm) else row.qk_norm
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        window=row.window(fields, index, count),
        qkv_bias=switch(fields, row.qkv_bias),
        key_bias=row.key_bias,
        output_bias=switch(fields, row.output_bias),
        output_gate=row.output_gate,
        qk_norm=qk_norm,
        qk_norm_parts=row.qk_norm_parts,
        sinks=row.sinks,
        added_positions=switch(fields, row.added_positions),
        bias_apart=row.bias_apart,
    )


def latent_attention(fields: Fields, row: Row) -> Attention:
    """Multi-head latent attention (DeepSeek-V2, section 2.1)."""
    heads, rope = fields.size(row.field_of("heads")), fields.size("qk_rope_head_dim")
    bias = switch(fields, row.qkv_bias)
    return Attention(
        heads=heads,
        kv_heads=heads,
        head_width=fields.size("qk_nope_head_dim") + rope,
        value_width=fields.size("v_head_dim", fields.size(row.field_of("width")) // heads),
        query_rank=fields.count("q_lora_rank"),
        kv_rank=fields.size("kv_lora_rank"),
        rope_width=rope,
        latent_bias=bias,
        output_bias=switch(fields, row.output_bias),
    )


def feed_forward_of(fields: Fields, row: Row, index: int) -> FeedForward:
    """The feed-forward of one layer: dense, or its experts."""
    moe = row.experts
    if moe is not None and fields.count(moe.experts) and not moe.dense(fields, index):
        inner = fields.size(moe.inner)
        return FeedForward(
            inner=inner,
            gated=row.gated,
            bias=moe.expert_bias,
            experts=fields.size(moe.experts),
            active=fields.size(moe.active),
            router_bias=moe.router_bias,
            shared=moe.shared(fields, inner),
            shared_gate=moe.shared_gate,
            shared_bias=moe.shared_bias and switch(fields, row.mlp_bias),
        )
    width = fields.size(row.field_of("width"))
    if row.inner is not None:
        inner = row.inner(fields, width)
    else:
        inner = fields.size(row.field_of("inner"))
    bias = switch(fields, row.mlp_bias)
    return FeedForward(inner=inner, gated=row.gated, bias=bias, bias_apart=row.bias_apart)
