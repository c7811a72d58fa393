"""A config and what was made of it: the shape, the class, and all that is not in the numbers."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rmtscale.errors import BadInput
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import KINDS, ModelSpec
from rmtscale.specs.rows.assumed import assumed_sizes
from rmtscale.specs.rows.catalog import NESTED, ROWS, find_row
from rmtscale.specs.rows.fields import Fields
from rmtscale.specs.rows.heads import class_of, headed
from rmtscale.specs.rows.row import read_row
from rmtscale.specs.structure import TEXT_PARTS


class NoRow(BadInput):
    """A type of model that no row describes."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One config, read."""

    spec: ModelSpec
    config: Mapping[str, Any] | None = None
    """The config as it was given; None of a preset."""
    class_name: str = ""
    """The class of Transformers that is counted: ``Qwen2ForCausalLM``."""
    not_counted: tuple[str, ...] = ()
    """Notes on what the config has and the numbers do not, one line each."""
    assumed: Mapping[str, int] = field(default_factory=dict)
    """Sizes that the config does not say, by field: the defaults of its class, which are taken."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Says in lines what is not counted, and what is assumed."""
        if not self.assumed:
            return self.not_counted
        sizes = ", ".join(f"{key} {value}" for key, value in self.assumed.items())
        return (*self.not_counted, f"not in the config, so its class's default is taken: {sizes}")

    @property
    def head(self) -> str:
        """Names what stands behind the last layer."""
        if isinstance(self.spec, LayeredSpec):
            return self.spec.head_shape.title
        return {"classification": "sequence classification"}.get(self.spec.head, "language model")

    @property
    def quantization(self) -> Mapping[str, Any] | None:
        """How the weights are stored, where the config says so."""
        return None if self.config is None else quantization_of(self.config)


def quantization_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The ``quantization_config`` of a model, or that of its language model."""
    for place in (config, text_part(config)):
        for key in ("quantization_config", "compression_config"):
            found: Mapping[str, Any] | None = place.get(key)
            if found:
                return found
    return None


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of the language model: ``text_config`` where there is one."""
    for key in TEXT_PARTS:
        inner: Mapping[str, Any] | None = config.get(key)
        if inner:
            return inner
    kind = config.get("model_type")
    if isinstance(kind, str) and kind in NESTED:
        return {**config, "model_type": NESTED[kind]}
    return config


def read(config: Mapping[str, Any], name: str, built: str | None = None) -> Reading:
    """Reads a config by the row of its type.

    Args:
        config: the whole mapping.
        name: what messages call the model.
        built: a class to count in place of the one that ``architectures`` names.

    Raises:
        BadInput: a field that is missing or wrong, a class that is not counted.
        NoRow: a type that has no row.
    """
    text = text_part(config)
    found = find_row(text.get("model_type"))
    if found is None:
        raise NoRow(_unknown(config, text, name))
    kind, row = found
    nested = any(text is config.get(key) for key in TEXT_PARTS)
    if nested and built is None:
        # The whole model's class ends as its language model does.
        text = {**text, "architectures": [_inner_class(config, row.prefix)]}
    fields = Fields({**text, **row.fixed}, name, row.defaults, row.synonyms)
    if not nested and not fields.has_any(row.field_of("width")):
        raise BadInput(f"model {name!r}: its config lacks {row.field_of('width')!r}")
    spec = headed(row, fields, read_row(row, fields), kind, built)
    spec = replace(spec, config=json.dumps(dict(config), sort_keys=True, default=str))
    name_of_class = f"{row.prefix}{class_of(row, fields, built)}"
    notes = _notes(config, text, kind, nested, fields.unread(frozenset(row.harmless.split())))
    for key, value in row.fixed.items():
        if text.get(key, value) != value:
            told = json.dumps(value)
            notes += (f"{key} {json.dumps(text[key])}: the class takes {told} whatever it says",)
    assumed = assumed_sizes(row, fields)
    return Reading(spec, config, name_of_class, notes, assumed)


def with_quantization(reading: Reading) -> Reading:
    """The reading with the weights stored as its ``quantization_config`` says, if it has one."""
    if reading.quantization is None:
        return reading
    from rmtscale.specs.quantization.reading import read_quantization

    quantization, notes = read_quantization(reading.quantization, reading.spec)
    spec = replace(reading.spec, quantization=quantization)
    return replace(reading, spec=spec, not_counted=(*reading.not_counted, *notes))


def _notes(
    config: Mapping[str, Any], text: Mapping[str, Any], kind: str, nested: bool, unread: list[str]
) -> tuple[str, ...]:
    notes = []
    others = sorted(
        key.removesuffix("_config")
        for key, value in config.items()
        if key in ("vision_config", "audio_config", "visual", "vision_tower_config") and value
    )
    if nested or others:
        what = " and ".join(others) or "all but the text model"
        notes.append(f"{what}: left out, the text model alone is counted")
    if unread:
        notes.append(f"fields that {kind} does not know: {', '.join(unread)}")
    for key in ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules"):
        if text.get(key):
            notes.append(f"{key} {text[key]}: layers that predict further tokens are left out")
    return tuple(notes)


def _inner_class(config: Mapping[str, Any], prefix: str) -> str:
    given = config.get("architectures")
    name = given[0] if given else ""
    return f"{prefix}Model" if name.endswith("Model") else f"{prefix}ForCausalLM"


def _unknown(config: Mapping[str, Any], text: Mapping[str, Any], name: str) -> str:
    """Why a type is refused."""
    kind = text.get("model_type")
    near = difflib.get_close_matches(str(kind), ROWS, n=2, cutoff=0.6) if kind else []
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    remote = ""
    if config.get("auto_map"):
        classes = config.get("architectures") or ["its class"]
        remote = f"; {classes[0]} is remote code, which is never run"
    return (
        f"model {name!r}: model_type {kind!r} is not supported{hint}, expected one of "
        f"{', '.join(KINDS)} or another of {len(ROWS)} types ('rmtscale models --types' lists "
        f"them){remote}"
    )
