"""The layers of a model whose layers are all alike, in the form of any model's."""

from __future__ import annotations

from rmtscale.specs.attention import Attention
from rmtscale.specs.layers import FeedForward, Groups, Layer
from rmtscale.specs.model import ModelSpec


def uniform_groups(model: ModelSpec) -> Groups:
    """Its layers, those with a window (GPT-Neo) apart."""

    def layer(window: int) -> Layer:
        attention = Attention(
            heads=model.heads,
            kv_heads=model.kv_heads,
            head_width=model.head_width,
            window=window,
            qkv_bias=model.qkv_bias,
            output_bias=model.output_bias,
        )
        block = FeedForward(inner=model.mlp_width, gated=model.gated_mlp, bias=model.mlp_bias)
        return Layer(attention, block)

    counts = ((0, model.layers - model.local_layers), (model.local_window, model.local_layers))
    return tuple((layer(window), count) for window, count in counts if count)
