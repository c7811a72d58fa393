"""A spec from a Hugging Face config and back: plain mappings, no transformers import.

Only sizes and the few switches that change the cost are read. Anything else in a config (token
ids, initialisation, task settings) does not matter here; a field that would change the cost in a
way the model of costs does not know is refused. How each family reads and writes its config
stands in the family's own file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from rmtscale.errors import BadInput, MissingDependency, reason_of
from rmtscale.limits import MOST_TOKENIZER_BYTES
from rmtscale.printable import one_line
from rmtscale.readers import parse_config, read_config, read_text
from rmtscale.specs import bert, gpt2, gpt_neo, llama, opt, pythia
from rmtscale.specs.catalog import find_preset, unknown_model
from rmtscale.specs.fields import ConfigFields
from rmtscale.specs.model import ModelSpec, of_kind
from rmtscale.specs.structure import require_structure

if TYPE_CHECKING:
    from rmtscale.specs.layered import LayeredSpec
    from rmtscale.specs.reading import Reading


class _Family(Protocol):
    """Names what the file of a family offers."""

    def from_config(self, fields: ConfigFields, /) -> ModelSpec: ...
    def to_config(self, spec: ModelSpec, /) -> dict[str, Any]: ...


_FAMILIES: dict[str, _Family] = {
    "bert": bert,
    "gpt2": gpt2,
    "gpt_neo": gpt_neo,
    "gpt_neox": pythia,
    "llama": llama,
    "opt": opt,
}
_HEADS = {"bert": "sequence classification"}
"""The head that a plain spec has; a language model of all others."""
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def resolve_model(name: str) -> ModelSpec:
    """The shape of a preset, a ``config.json`` or its folder, or a hub name.

    Raises:
        BadInput: nothing of that name, or a config that cannot be used.
        MissingDependency: a hub name without the ``measure`` extra.
    """
    return find_preset(name) or read_model(name).spec


def read_model(name: str) -> Reading:
    """Reads a model with its class and all that is not in the numbers.

    Raises:
        BadInput: nothing of that name, or a config that cannot be used.
        MissingDependency: a hub name without the ``measure`` extra.
    """
    from rmtscale.specs.current import PRESETS as CURRENT
    from rmtscale.specs.current import current_name
    from rmtscale.specs.reading import Reading

    preset = find_preset(name)
    if preset is not None:
        return Reading(preset)
    current = current_name(name)
    if current is not None:
        found = CURRENT[current]
        reading = read_mapping(found.config, current)
        source = "released config"
        spec = replace(reading.spec, hub_name=found.hub_name, source=source)
        # Their configs are kept without what the class says too, and held against released sizes.
        return replace(reading, spec=spec, assumed={})
    return read_mapping(find_config(name), name)


def find_config(name: str) -> Mapping[str, Any]:
    """The config of a ``config.json``, of its folder or of a hub name.

    Raises:
        BadInput: nothing of that name, or no JSON object.
        MissingDependency: a hub name without the ``measure`` extra.
    """
    path = Path(name)
    if path.is_dir():
        path = path / "config.json"
        if not path.exists():
            raise BadInput(f"model {name!r}: expected a config.json in this folder")
    if path.exists():
        return _object(read_config(path, f"model {name!r}"), name)
    if _HUB_NAME.fullmatch(name) and not name.endswith(".json"):
        instead = "a preset or a config.json"
        text = hub_text(name, "config.json", what="model", instead=instead)
        return _object(parse_config(text, f"model {name!r}"), name)
    raise unknown_model(name)


def from_config(config: Mapping[str, Any], name: str = "config") -> ModelSpec:
    """The shape of a config given as a mapping (``config.to_dict()`` or the JSON).

    Raises:
        BadInput: a field missing or of a wrong type, or a ``model_type`` that is not supported.
    """
    return read_mapping(config, name).spec


def read_mapping(config: Mapping[str, Any], name: str, built: str | None = None) -> Reading:
    """Reads a model with its class and all that is not in the numbers.

    The six families that an RMT is built around, with the head that it takes, become a plain
    ``ModelSpec``, whose memory is known to the byte; every other model a ``LayeredSpec``.

    Args:
        built: a class to count in place of the one that ``architectures`` names.

    Raises:
        BadInput: a field missing or of a wrong type, or a ``model_type`` that is not supported.
    """
    from rmtscale.specs.reading import with_quantization

    name = one_line(name)  # it stands in tables, pictures and pages
    require_structure(config, name)
    return with_quantization(_read_shape(config, name, built))


def _read_shape(config: Mapping[str, Any], name: str, built: str | None) -> Reading:
    """Reads a model as if its weights were plain."""
    from rmtscale.specs.reading import read, text_part
    from rmtscale.specs.rows.catalog import ROWS

    text = text_part(config)
    kind = text.get("model_type")
    family = _FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        return read(config, name, built)
    row = ROWS[str(kind)]
    defaults = dict(row.defaults)
    if text is config:  # a whole config names its width
        del defaults[row.field_of("width")]
    other_names = {field: text[other] for other, field in row.synonyms.items() if other in text}
    plain: ModelSpec | None = None
    failure: BadInput | None = None
    try:
        plain = family.from_config(ConfigFields({**defaults, **text, **other_names}, name))
    except BadInput as error:  # its messages are of the field; of another head they do not matter
        failure = error
    try:
        reading = read(config, name, built)
    except BadInput as error:
        raise failure or error from None
    spec = cast("LayeredSpec", reading.spec)
    other = text.get("reorder_and_upcast_attn")  # multiplies in another order
    if other or spec.head_shape.title != _HEADS.get(spec.kind, "language model"):
        return reading
    if failure is not None or plain is None:
        raise failure or BadInput(f"model {name!r}: its config cannot be read")
    return replace(reading, spec=replace(plain, labels=spec.labels))


def to_config(spec: ModelSpec) -> dict[str, Any]:
    """The Hugging Face config that builds this spec, for ``AutoConfig.for_model(**mapping)``."""
    return {
        "model_type": spec.kind,
        **of_kind(_FAMILIES, spec.kind, "its config is").to_config(spec),
    }


def _object(config: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(config, dict):
        raise BadInput(f"model {name!r}: expected a JSON object with a model_type")
    return config


def hub_text(name: str, file: str, *, what: str, instead: str) -> str:
    """The text of a file of a hub repository: from the client's cache, else asked for once.

    Args:
        name: repository, ``facebook/opt-125m``.
        file: path in it, ``config.json``.
        what: what messages call ``name``, ``model``.
        instead: what else could have been given, for messages.

    Raises:
        BadInput: the hub gave no such file.
        MissingDependency: without the ``measure`` extra.
    """
    try:
        from huggingface_hub import get_session, hf_hub_url, try_to_load_from_cache
        from huggingface_hub.utils import build_hf_headers
    except ImportError as error:
        raise MissingDependency(
            f"{what} {name!r}: a hub name needs pip install 'rmtscale[measure]'; without it, give "
            f"{instead}"
        ) from error
    try:
        cached = try_to_load_from_cache(name, file)
        if isinstance(cached, str):
            return read_text(Path(cached), f"{what} {name!r}", MOST_TOKENIZER_BYTES)
        # Not hf_hub_download: without a network it tries six times, half a minute in all.
        url = hf_hub_url(name, file)
        answer = get_session().get(url, headers=build_hf_headers(), timeout=10)
        answer.raise_for_status()
        return str(answer.text)
    # The client raises a dozen kinds (network, HTTP, permission, validation); to the user they
    # are one: that name gave no file.
    except Exception as error:
        raise BadInput(
            f"{what} {name!r}: expected {instead}; the hub gave no {file} ({reason_of(error)})"
        ) from error
