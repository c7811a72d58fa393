"""Sizes that a config leaves to its class: Transformers leaves some out, and so does a slip.

Only those that set the size of a model as a whole are told of. Of others (the width of a
convolution, a window) published configs leave out many, and little rests on one.
"""

from __future__ import annotations

from rmtscale.specs.rows.fields import Fields
from rmtscale.specs.rows.row import Row

_AXES = ("width", "layers", "heads", "inner", "vocabulary")
_OF_TWO_SIDES = (
    *("num_layers", "num_heads", "d_ff"),
    *("encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"),
    *("decoder_layers", "decoder_attention_heads", "decoder_ffn_dim"),
)
"""Names of these sizes in models of an encoder and a decoder."""
_OF_EXPERTS = (
    *("num_experts", "num_local_experts", "n_routed_experts", "num_experts_per_tok"),
    *("top_k_experts", "moe_intermediate_size", "intermediate_size_mlp"),
)
"""How many experts there are, how many a token passes through, and how wide they are."""
_LISTS = ("layer_types", "layers_block_type", "hybrid_override_pattern", "attention_types")
"""Fields that have an entry for each layer, and so say how many there are."""


def assumed_sizes(row: Row, fields: Fields) -> dict[str, int]:
    """Returns the sizes that were read and that only the class's defaults say, by field.

    Args:
        fields: of a config that was read.
    """
    names = (*(row.field_of(axis) for axis in _AXES), *_OF_TWO_SIDES, *_OF_EXPERTS)
    listed = any(fields.config.get(key) for key in _LISTS)
    found = {}
    for name in dict.fromkeys(names):
        value = fields.defaults.get(name)
        if name not in fields.asked or fields.has_any(name) or type(value) is not int:
            continue
        if not (listed and name == row.field_of("layers")):
            found[name] = value
    return found
