"""Pythia presets (Biderman et al. 2023, Table 1): rotary, parallel blocks, untied head."""

from __future__ import annotations

from rmtscale.specs.model import ModelSpec

_SIZES = {  # layers, heads, width, vocabulary (padded further for the two largest)
    "14m": (6, 4, 128, 50304),
    "31m": (6, 8, 256, 50304),
    "70m": (6, 8, 512, 50304),
    "160m": (12, 12, 768, 50304),
    "410m": (24, 16, 1024, 50304),
    "1b": (16, 8, 2048, 50304),
    "1.4b": (24, 16, 2048, 50304),
    "2.8b": (32, 32, 2560, 50304),
    "6.9b": (32, 32, 4096, 50432),
    "12b": (36, 40, 5120, 50688),
}


def _spec(size: str) -> ModelSpec:
    layers, heads, width, vocabulary = _SIZES[size]
    return ModelSpec(
        name=f"pythia-{size}",
        kind="gpt_neox",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=4 * width,
        vocabulary=vocabulary,
        embedding_width=width,
        rotary_width=width // heads // 4,
        activation="gelu",
        parallel_blocks=True,
        tied_head=False,
        hub_name=f"EleutherAI/pythia-{size}",
        source="Biderman et al. 2023, Table 1; vocabularies of the released checkpoints",
    )


PRESETS = {spec.name: spec for spec in map(_spec, _SIZES)}
