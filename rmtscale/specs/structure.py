"""The fields of a config that are mappings or lists, and the refusal of whatever stands there else.

A reader that takes such a field only if it is what it should be passes over anything else in
silence, so each is looked at once, before any reader asks for it. Null is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rmtscale.specs.fields import wrong_field

TEXT_PARTS = ("text_config", "llm_config", "language_config")
"""Where the config of a language model stands in that of a larger model."""


@dataclass(frozen=True, slots=True)
class Structure:
    """Describes what a field holds."""

    expected: str
    """How messages call it."""
    is_right: Callable[[object], bool] = lambda value: isinstance(value, Mapping)
    fields: Mapping[str, Structure] = field(default_factory=dict)
    """Fields of a mapping that are mappings or lists themselves."""
    each: Structure | None = None
    """The structure of every value of a mapping."""


def _listed(*kinds: type) -> Callable[[object], bool]:
    """Holds of a list whose items are all of these types; True and False are no numbers."""

    def is_right(value: object) -> bool:
        return isinstance(value, list | tuple) and all(
            isinstance(item, kinds) and (bool in kinds or not isinstance(item, bool))
            for item in value
        )

    return is_right


_MAPPING = Structure("a mapping")
_NAMES = Structure("a list of names", _listed(str))
_NUMBERS = Structure("a list of whole numbers", _listed(int))
_ANY_NUMBERS = Structure("a list of numbers", _listed(int, float))
_LISTS = Structure("a list of lists", _listed(list, tuple))
_SWITCHES = Structure("a list of 0 and 1", _listed(int, bool))
_LETTERS = Structure("a letter for each layer", lambda value: isinstance(value, str))
_NAMES_OR_LETTERS = Structure(
    "a list of names or a letter for each layer",
    lambda value: _LETTERS.is_right(value) or _NAMES.is_right(value),
)
_BLOCKS = Structure(
    "a list of names or of lists of names",
    lambda value: (
        isinstance(value, list | tuple)
        and all(isinstance(item, str) or _NAMES.is_right(item) for item in value)
    ),
)
_NAMED_PARTS = Structure("a mapping of mappings", each=_MAPPING)
_GROUP = Structure(
    "a mapping or a list of names",
    lambda value: isinstance(value, Mapping) or _NAMES.is_right(value),
    {"weights": _MAPPING, "input_activations": _MAPPING},
)
_GROUPS = Structure("a mapping of mappings", each=_GROUP)
_IN_MODELOPT = {"config_groups": _GROUPS, "quantized_layers": _NAMED_PARTS}
_QUANTIZATION = Structure(
    "a mapping that names its quant_method",
    fields=_IN_MODELOPT
    | {
        "quantization": Structure("a mapping", fields=_IN_MODELOPT),
        "producer": _MAPPING,
        "sparsity_config": _MAPPING,
        "modules_in_block_to_quantize": _BLOCKS,
    },
)

FIELDS: dict[str, Structure] = {
    "quantization_config": _QUANTIZATION,
    "compression_config": _QUANTIZATION,
    **dict.fromkeys((*TEXT_PARTS, "vision_config", "audio_config", "visual"), _MAPPING),
    **dict.fromkeys(("vision_tower_config", "attn_config", "per_layer_config"), _MAPPING),
    **dict.fromkeys(("rope_parameters", "rope_scaling", "auto_map"), _MAPPING),
    **dict.fromkeys(("id2label", "label2id", "task_specific_params"), _MAPPING),
    "architectures": Structure("a list of one class's name", _NAMES.is_right),
    **dict.fromkeys(("layer_types", "mlp_layer_types", "indexer_types", "block_types"), _NAMES),
    **dict.fromkeys(("layers_block_type", "mtp_layers_block_type", "attention_layers"), _NAMES),
    "attention_types": _LISTS,
    "hybrid_override_pattern": _LETTERS,
    "index_topk_pattern": _NAMES_OR_LETTERS,
    **dict.fromkeys(("full_attn_idxs", "mlp_only_layers", "moe_layers"), _NUMBERS),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens"), _NUMBERS),
    "no_rope_layers": _SWITCHES,
    "time_step_limit": _ANY_NUMBERS,
}
"""Fields by name: those of any model type that has a row, and those that all configs may have."""


def require_structure(config: Mapping[str, Any], name: str) -> None:
    """Refuses a config in which something else stands where a mapping or a list is expected.

    Args:
        config: the whole mapping.
        name: what messages call the model.

    Raises:
        BadInput: such a field, here or in the config of the language model.
    """
    _require_fields(FIELDS, config, "", name)
    for key in TEXT_PARTS:
        _require_fields(FIELDS, config.get(key) or {}, f"{key}.", name)


def _require_fields(
    fields: Mapping[str, Structure], config: Mapping[str, Any], place: str, name: str
) -> None:
    for key, structure in fields.items():
        if config.get(key) is not None:
            _require(structure, config[key], f"{place}{key}", name)


def _require(structure: Structure, value: object, place: str, name: str) -> None:
    if not structure.is_right(value):
        raise wrong_field(name, place, value, structure.expected)
    if not isinstance(value, Mapping):
        return
    _require_fields(structure.fields, value, f"{place}.", name)
    if structure.each is not None:
        for key, inner in value.items():
            _require(structure.each, inner, f"{place}.{key}", name)
