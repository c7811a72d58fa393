"""Bytes of a published file's weights from its config alone, by the names of the real module.

Written apart from what it checks: each library's own matching, on names of Transformers' module.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import Any

from transformers.quantizers.quantizers_utils import should_convert_module

from rmtscale.profiler.real_module import real_module
from rmtscale.specs.reading import Reading, quantization_of, text_part
from tests.specs.quantization import module_bytes as real


def oracle_bytes(config: Mapping[str, Any], reading: Reading) -> int:
    """All bytes in a model whose other weights have 16 bits."""
    text = {key: value for key, value in text_part(config).items() if key != "quantization_config"}
    text.pop("auto_map", None)
    text["model_type"] = reading.spec.kind
    module = real_module(text, reading.class_name, "oracle")
    quantization = quantization_of(config)
    assert quantization is not None
    ignored = quantization.get("modules_to_not_convert") or quantization.get("ignore") or []
    method = quantization.get("quant_method", "modelopt")

    def layout(name: str, inner: int, outer: int) -> real.Tensors | None:
        kept = name.endswith("indexer.weights_proj") or _kept(name, method, ignored)
        return None if kept else _tensors(name, method, quantization, inner, outer)

    # No list of a published file names single experts: what the first has, all have.
    first: dict[tuple[str, int, int], real.Tensors | None] = {}

    def remembered(name: str, inner: int, outer: int) -> real.Tensors | None:
        key = re.sub(r"experts\.\d+", "experts.0", name), inner, outer
        if key not in first:
            first[key] = layout(*key)
        return first[key]

    return real.bytes_of(module, remembered, 2)


def _names(name: str) -> list[str]:
    """What a published file calls a module of Transformers'."""
    bare = name.removeprefix("model.")
    moe = bare.replace(".mlp.experts.", ".block_sparse_moe.experts.")
    places = ("", "model.", "model.language_model.", "language_model.", "language_model.model.")
    return [place + item for item in (bare, moe) for place in places]


def _kept(name: str, method: str, ignored: list[str]) -> bool:
    """Whether a module stays as it is, by the matching of each library."""
    names = _names(name)
    number = re.search(r"layers\.\d+", name)
    near = [
        item
        for item in ignored
        if not re.search(r"layers\.\d", item) or (number and f"{number[0]}." in f"{item}.")
    ]
    if method == "fp8":
        left_out = any(not should_convert_module(item, near) for item in names)
        return left_out or (not ignored and name == "lm_head")
    if method == "mxfp4":
        return ".experts." not in name
    if method in ("awq", "gptq"):
        return name == "lm_head"
    if method == "compressed-tensors":
        expressions = [item[3:] for item in ignored if item.startswith("re:")]
        matched = any(re.match(item, one) for item in expressions for one in names)
        return matched or bool(set(ignored) & set(names))
    # A wildcard may end inside of a layer's number.
    return any(fnmatch.fnmatchcase(one, item) for item in ignored for one in names)


def _tensors(
    name: str, method: str, quantization: Mapping[str, Any], inner: int, outer: int
) -> real.Tensors | None:
    if method == "fp8":
        scale = 1 if quantization.get("scale_fmt") == "ue8m0" else 4
        return real.fp8_blocks(inner, outer, scale=scale)
    if method == "compressed-tensors":
        return real.compressed_int4(inner, outer, 32)
    if method != "modelopt":
        return {"mxfp4": real.mxfp4, "awq": real.awq, "gptq": real.gptq}[method](inner, outer)
    names = _names(name)
    for group in quantization["config_groups"].values():
        targets = group.get("targets") or ["Linear"]
        if "Linear" in targets or any(
            one == item or one.startswith(f"{item}.") for item in targets for one in names
        ):
            scales = 1 + (group.get("input_activations") is not None)
            if group["weights"]["num_bits"] == 4:
                return real.modelopt_nvfp4(inner, outer, scales)
            return real.modelopt_fp8(inner, outer, scales)
    return None
