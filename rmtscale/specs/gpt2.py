"""GPT-2 presets (Radford et al. 2019, Table 2; vocabulary and dropout of the released configs)."""

from __future__ import annotations

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
