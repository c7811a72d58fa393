"""OPT presets (Zhang et al. 2022, arXiv 2205.01068, Table 1).

OPT-350M is the odd one: embeddings of 512 projected to 1024 and back, and norms after the blocks.
"""

from __future__ import annotations

from rmtscale.specs.model import ModelSpec

_SIZES = {  # layers, heads, width
    "125m": (12, 12, 768),
    "350m": (24, 16, 1024),
    "1.3b": (24, 32, 2048),
    "2.7b": (32, 32, 2560),
    "6.7b": (32, 32, 4096),
    "13b": (40, 40, 5120),
    "30b": (48, 56, 7168),
    "66b": (64, 72, 9216),
    "175b": (96, 96, 12288),
}


def _spec(size: str) -> ModelSpec:
    layers, heads, width = _SIZES[size]
    post_norm = size == "350m"
    return ModelSpec(
        name=f"opt-{size}",
        kind="opt",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=4 * width,
        vocabulary=50272,
        embedding_width=512 if post_norm else width,
        positions=2048,
        position_rows=2050,
        activation="relu",
        post_norm=post_norm,
        final_norm=not post_norm,
        hidden_dropout=0.1,
        # The 175B weights were never on the hub; its shape is the paper's.
        hub_name=None if size == "175b" else f"facebook/opt-{size}",
        source="Zhang et al. 2022, Table 1",
    )


PRESETS = {spec.name: spec for spec in map(_spec, _SIZES)}
