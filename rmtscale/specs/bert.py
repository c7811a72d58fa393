"""BERT presets (Devlin et al. 2019, section 3) with the classification head an RMT puts on them."""

from __future__ import annotations

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
