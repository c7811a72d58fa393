"""How a config says that its weights are stored: the dtype, and the quantisation in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rmtscale.specs.precision import DTYPE_BYTES

if TYPE_CHECKING:
    from rmtscale.specs.model import ModelSpec


def stored_dtype_bytes(config: Mapping[str, Any] | None) -> int:
    """Bytes of a plain weight as a config says it is stored; 16 bits where it says nothing."""
    return DTYPE_BYTES[_stored_dtype(config)]


def stored_title(spec: ModelSpec, config: Mapping[str, Any] | None) -> str:
    """Says how the weights are stored: ``bf16``, or the quantisation and the dtype of the rest."""
    dtype = _stored_dtype(config)
    return dtype if spec.quantization is None else f"{spec.quantization.title}; the rest {dtype}"


def _stored_dtype(config: Mapping[str, Any] | None) -> str:
    from rmtscale.specs.reading import text_part

    names = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
    for place in () if config is None else (config, text_part(config)):
        for key in ("dtype", "torch_dtype"):
            if place.get(key) in names:
                return names[place[key]]
    return "bf16"
