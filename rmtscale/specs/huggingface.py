"""A spec from a Hugging Face config and back: plain mappings, no transformers import.

Only sizes and the few switches that change the cost are read. Anything else in a config (token
ids, initialisation, task settings) does not matter here; a field that would change the cost in a
way the model of costs does not know is refused. How each family reads and writes its config
stands in the family's own file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from rmtscale.errors import BadInput, MissingDependency
from rmtscale.specs import bert, gpt2, gpt_neo, llama, opt, pythia
from rmtscale.specs.catalog import find_preset, unknown_model
from rmtscale.specs.fields import ConfigFields
from rmtscale.specs.model import KINDS, ModelSpec, of_kind


class _Family(Protocol):
    """What the file of a family offers."""

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
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def resolve_model(name: str) -> ModelSpec:
    """A preset, a ``config.json`` or its folder, or a hub name, as a spec.

    Raises:
        BadInput: nothing of that name, or a config that cannot be used.
        MissingDependency: a hub name without the ``measure`` extra.
    """
    preset = find_preset(name)
    if preset is not None:
        return preset
    path = Path(name)
    if path.is_dir():
        path = path / "config.json"
    if path.is_file():
        return read_config(path, name)
    if Path(name).is_dir():
        raise BadInput(f"model {name!r}: expected a config.json in this folder")
    if _HUB_NAME.fullmatch(name) and not name.endswith(".json"):
        instead = "a preset or a config.json"
        return _parse(hub_text(name, "config.json", what="model", instead=instead), name)
    raise unknown_model(name)


def read_config(path: Path, name: str) -> ModelSpec:
    """The spec of a ``config.json``; ``name`` is what messages and tables call it.

    Raises:
        BadInput: not readable, not JSON, not a config, a field missing, a kind not supported.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"model {name!r}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"model {name!r}: expected a config.json, this is not text") from error
    return _parse(text, name)


def from_config(config: Mapping[str, Any], name: str = "config") -> ModelSpec:
    """The spec of a config given as a mapping (``config.to_dict()`` or the JSON).

    Raises:
        BadInput: a field missing or of a wrong type, or a ``model_type`` that is not supported.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in _FAMILIES:
        raise BadInput(
            f"model {name!r}: model_type {kind!r} is not supported, expected one of "
            f"{', '.join(KINDS)}"
        )
    return _FAMILIES[kind].from_config(ConfigFields(config, name))


def to_config(spec: ModelSpec) -> dict[str, Any]:
    """The Hugging Face config that builds this spec, for ``AutoConfig.for_model(**mapping)``."""
    return {
        "model_type": spec.kind,
        **of_kind(_FAMILIES, spec.kind, "its config is").to_config(spec),
    }


def _parse(text: str, name: str) -> ModelSpec:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise BadInput(f"model {name!r}: expected a config.json, this is not JSON") from error
    if not isinstance(config, dict):
        raise BadInput(f"model {name!r}: expected a JSON object with a model_type")
    return from_config(config, name)


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
            return Path(cached).read_text(encoding="utf-8")
        # Not hf_hub_download: without a network it tries six times, half a minute in all.
        url = hf_hub_url(name, file)
        answer = get_session().get(url, headers=build_hf_headers(), timeout=10)
        answer.raise_for_status()
        return str(answer.text)
    # The client raises a dozen kinds (network, HTTP, permission, validation); to the user they
    # are one: that name gave no file.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(
            f"{what} {name!r}: expected {instead}; the hub gave no {file} ({reason[:120]})"
        ) from error
