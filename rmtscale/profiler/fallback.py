"""A model of a type without a row: built on ``meta`` from its file, and counted there.

Counted at each length that is asked for and never fitted: layers that work in chunks pass a test of
few points and are then wrong. What was counted is kept on disk, by the config, the class and the
versions of torch and Transformers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from rmtscale.files import write_whole
from rmtscale.profiler.real_module import (
    class_of_config,
    real_flops,
    real_module,
    real_parameters,
)
from rmtscale.readers import read_json
from rmtscale.specs.quantization.methods import method_of
from rmtscale.specs.reading import quantization_of, text_part

MARK = "counted on the real module, not a closed form"


@dataclass(slots=True)
class CountedModel:
    """One model as its real module counts it."""

    name: str
    kind: str
    class_name: str
    parameters: int
    config: Mapping[str, Any]
    not_counted: tuple[str, ...] = ()
    """Notes on what its config has and the numbers do not, one line each."""
    _flops: dict[str, int] = field(default_factory=dict)
    _module: Any = None

    def flops(self, tokens: int) -> int:
        """Returns FLOPs of a forward pass over ``tokens``, as torch's counter sees them.

        Raises:
            BadInput: a module that cannot run without values.
        """
        if str(tokens) not in self._flops:
            if self._module is None:
                self._module = real_module(self.config, self.class_name, self.name)
            counted = real_flops(self._module, tokens)
            self._flops[str(tokens)] = sum(counted.values())
            self._keep()
        return self._flops[str(tokens)]

    def row(self) -> dict[str, Any]:
        """Returns the same as of a model that has a row, as far as it is known."""
        return {
            "name": self.name,
            "model_type": self.kind,
            "class": self.class_name,
            "head": None,
            "parameters": self.parameters,
            "active_parameters": None,
            "counted": MARK,
            "not_counted": [
                f"{MARK}: its layers, cache and memory are not known",
                *self.not_counted,
            ],
        }

    def _keep(self) -> None:
        kept = {"parameters": self.parameters, "flops": self._flops}
        write_whole(_place(self.config, self.class_name), json.dumps(kept, indent=1) + "\n")


def count_model(config: Mapping[str, Any], name: str) -> CountedModel:
    """Builds the class that ``config`` names and counts its parameters.

    Raises:
        BadInput: a type or class that Transformers does not have, or cannot build.
    """
    text = text_part(config)
    class_name = class_of_config(config, name)
    part = text if class_name != _named(config) else config
    kind = str(part.get("model_type"))
    quantization = quantization_of(config)
    notes: tuple[str, ...] = ()
    if quantization is not None:
        method = method_of(quantization)
        notes = (f"quantization {method}: the bytes of the weights are not counted",)
    kept = _read(_place(part, class_name))
    if kept is not None:
        return CountedModel(name, kind, class_name, kept["parameters"], part, notes, kept["flops"])
    module = real_module(part, class_name, name)
    model = CountedModel(name, kind, class_name, real_parameters(module), part, notes, {}, module)
    model._keep()
    return model


def _named(config: Mapping[str, Any]) -> str | None:
    given = config.get("architectures")
    return given[0] if isinstance(given, list) and given else None


def _place(config: Mapping[str, Any], class_name: str) -> Path:
    folder = os.environ.get("RMTSCALE_CACHE") or Path.home() / ".cache" / "rmtscale"
    text = json.dumps([class_name, torch.__version__, transformers.__version__, dict(config)])
    return Path(folder) / "counted" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _read(path: Path) -> dict[str, Any] | None:
    """Reads what was kept; None where there is nothing, or nothing that can be used."""
    try:
        kept = read_json(path, f"counts {str(path)!r}")
        counts = [kept["parameters"], *kept["flops"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return kept if all(type(count) is int and count >= 0 for count in counts) else None
