"""GPT-Neo presets (Black et al. 2021): every second layer attends to the last 256 tokens only."""

from __future__ import annotations

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
