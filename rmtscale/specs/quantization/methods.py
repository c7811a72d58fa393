"""Each method's ``quantization_config``: which linear layers have which layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from rmtscale.specs.quantization import formats
from rmtscale.specs.quantization.formats import Format
from rmtscale.specs.quantization.linears import HEAD, Linear
from rmtscale.specs.quantization.patterns import (
    Matcher,
    Names,
    compressed_list,
    every,
    none,
    substring_list,
    transformers_list,
    wildcard_list,
)

Config = Mapping[str, Any]


class NotCounted(Exception):
    """A method, or a setting of one, whose bytes are not known."""


class Scheme(NamedTuple):
    """One ``quantization_config``, read."""

    chosen: Callable[[Linear, Names], Format | None]
    """The layout of a linear layer; None where it stays as it is."""
    lists: tuple[tuple[str, ...], Callable[[Iterable[str]], Matcher]] = ((), transformers_list)
    """The names of what is left out, and how they are matched."""


def _names(config: Config, *keys: str) -> tuple[str, ...]:
    for key in keys:
        value = config.get(key)
        if value is None:
            continue
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise NotCounted(f"{key} is no list of names")
        return tuple(value)
    return ()


def _number(config: Config, key: str, default: int | None, known: tuple[int, ...] = ()) -> int:
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or (known and value not in known):
        raise NotCounted(f"{key} {value!r}")
    return value


def _but(
    layout: Format, left_out: Matcher, *, head: bool = False, experts_only: bool = False
) -> Callable[[Linear, Names], Format | None]:
    """One layout for all linear layers but those of a list, and but the head unless it is said."""

    def chosen(linear: Linear, names: Names) -> Format | None:
        if linear.term == HEAD and not head:
            return None
        if experts_only and not linear.term.startswith("expert_"):
            return None
        return None if left_out(names) else layout

    return chosen


def _fp8(config: Config) -> Scheme:
    """Transformers' fine-grained fp8: DeepSeek's and Qwen's own files."""
    kept = _names(config, "modules_to_not_convert", "ignored_layers")
    static = 4 * (config.get("activation_scheme") == "static")
    block = config.get("weight_block_size")
    if block is None:
        layout = replace(formats.FP8_TENSOR, matrix_bytes=static)
    else:
        if not isinstance(block, list | tuple) or [type(size) for size in block] != [int, int]:
            raise NotCounted(f"weight_block_size {block!r}")
        scale = 1 if config.get("scale_fmt") == "ue8m0" else 4
        layout = formats.fp8_blocks(block[0], block[1], scale, static)
    if config.get("expert_dtype") not in (None, "fp8"):
        raise NotCounted(f"expert_dtype {config['expert_dtype']!r}")
    # Where a list is given, the head is quantised unless it is in it.
    return Scheme(_but(layout, transformers_list(kept), head=bool(kept)), (kept, transformers_list))


def _fbgemm(config: Config) -> Scheme:
    kept = _names(config, "modules_to_not_convert")
    layout = replace(
        formats.FP8_TENSOR, title="fp8, a scale for each output", rows=1, matrix_bytes=4
    )
    return Scheme(_but(layout, transformers_list(kept)), (kept, transformers_list))


def _mxfp4(config: Config) -> Scheme:
    """Transformers' MXFP4: the experts alone (gpt-oss)."""
    kept = _names(config, "modules_to_not_convert")
    chosen = _but(formats.MXFP4, transformers_list(kept), experts_only=True)
    return Scheme(chosen, (kept, transformers_list))


def _awq(config: Config) -> Scheme:
    version = str(config.get("version") or config.get("format") or "gemm").lower()
    if version != "gemm":
        raise NotCounted(f"version {version!r}: its scales are padded")
    _number(config, "bits", _number(config, "w_bit", 4, (4,)), (4,))
    group = _number(config, "group_size", _number(config, "q_group_size", 128))
    kept = _names(config, "modules_to_not_convert")
    return Scheme(_but(formats.awq(group), substring_list(kept)), (kept, substring_list))


def _gptq(config: Config) -> Scheme:
    if config.get("dynamic"):
        raise NotCounted("dynamic: layouts that differ by module")
    bits = _number(config, "bits", 4, (2, 3, 4, 8))
    layout = formats.gptq(bits, _number(config, "group_size", 128))
    head = config.get("lm_head") is True
    blocks = config.get("modules_in_block_to_quantize")
    if not blocks:
        return Scheme(_but(layout, none, head=head))
    inside = tuple(name for item in blocks for name in ([item] if isinstance(item, str) else item))

    def left_out(names: Names) -> bool:
        return not any(name.endswith(inside) for name in names) and not (
            head and "lm_head" in names
        )

    return Scheme(_but(layout, left_out, head=head))


def _bitsandbytes(config: Config) -> Scheme:
    kept = _names(config, "llm_int8_skip_modules")
    if config.get("load_in_4bit"):
        kind = config.get("bnb_4bit_quant_type", "fp4")
        if kind not in ("nf4", "fp4"):
            raise NotCounted(f"bnb_4bit_quant_type {kind!r}")
        nested = config.get("bnb_4bit_use_double_quant")
        layout = formats.NF4_NESTED if nested else formats.NF4
        layout = replace(layout, title=layout.title.replace("nf4", kind))
    elif config.get("load_in_8bit"):
        layout = formats.LLM_INT8
        if config.get("llm_int8_has_fp16_weight"):
            raise NotCounted("llm_int8_has_fp16_weight: weights stay in 16 bits")
    else:
        raise NotCounted("neither load_in_8bit nor load_in_4bit")
    chosen = _but(layout, transformers_list(kept), head=bool(kept))
    return Scheme(chosen, (kept, transformers_list))


def _torchao(config: Config) -> Scheme:
    """Layouts of torchao 0.18 that are the same on every device."""
    kind = config.get("quant_type")
    if isinstance(kind, Mapping):
        default = kind.get("default")
        kind = default.get("_type") if isinstance(default, Mapping) else default
    layouts = {
        "int8_weight_only": _TORCHAO_INT8,
        "int8_dynamic_activation_int8_weight": _TORCHAO_INT8,
        "float8_weight_only": _TORCHAO_FP8,
    }
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(kind)).lower().removesuffix("_config")
    if words not in layouts:
        raise NotCounted(f"quant_type {kind!r}")
    kept = _names(config, "modules_to_not_convert")
    return Scheme(_but(layouts[words], transformers_list(kept)), (kept, transformers_list))


_TORCHAO_INT8 = replace(formats.LLM_INT8, zero_bits=8, capability=(0, 0))
_TORCHAO_FP8 = replace(formats.FP8_TENSOR, title="fp8, a scale for each output", rows=1)


def _compressed(config: Config) -> Scheme:
    """compressed-tensors (llm-compressor): one layout for each group of targets."""
    whole = config.get("format")
    sparse = config.get("sparsity_config") or {}
    if sparse.get("format") not in (None, "dense"):
        raise NotCounted(f"sparsity {sparse['format']!r}")
    groups = [
        (
            _compressed_layout(group, group.get("format") or whole),
            compressed_list(_names(group, "targets")),
        )
        for group in _group_mappings(config.get("config_groups") or {})
    ]
    return _grouped(groups, _names(config, "ignore"), compressed_list)


def _group_mappings(groups: Config) -> list[Config]:
    """The groups, each written out; the name of a scheme may stand for one (``W4A16``)."""
    for name, group in groups.items():
        if not isinstance(group, Mapping):
            raise NotCounted(f"config_groups names a scheme, {name!r}")
    return list(groups.values())


def _grouped(
    groups: list[tuple[Format | None, Matcher]],
    kept: tuple[str, ...],
    match: Callable[[Iterable[str]], Matcher],
) -> Scheme:
    """Layouts by groups of targets, but what is left out."""
    if not groups:
        raise NotCounted("no config_groups")
    left_out = match(kept) if kept else none

    def chosen(linear: Linear, names: Names) -> Format | None:
        del linear
        if left_out(names):
            return None
        return next((layout for layout, targets in groups if targets(names)), None)

    return Scheme(chosen, (kept, match))


def _compressed_layout(group: Config, packing: object) -> Format | None:
    weights, inputs = group.get("weights"), group.get("input_activations") or {}
    if weights is None:
        return None
    bits, kind = _number(weights, "num_bits", None), weights.get("type", "int")
    strategy = weights.get("strategy")
    size = _number(weights, "group_size", 0)
    if packing == "nvfp4-pack-quantized":
        return formats.nvfp4(1 + bool(inputs))
    if packing == "mxfp4-pack-quantized":
        return formats.MXFP4
    static = bool(inputs) and inputs.get("dynamic") is False
    sides = {
        "tensor": (0, 0),
        "channel": (1, 0),
        "group": (1, size),
        "block": tuple(weights.get("block_structure") or ()),
    }.get(str(strategy), ())
    if len(sides) != 2 or (strategy == "group" and size < 1) or weights.get("actorder") == "group":
        raise NotCounted(f"strategy {strategy!r}, group_size {size!r}")
    symmetric = weights.get("symmetric", True)
    layout = Format(
        title=_words(str(kind), bits, str(strategy), size),
        bits=bits,
        rows=sides[0],
        columns=sides[1],
        scale_bytes=None,
        inner_multiple=sides[1] if strategy == "group" else 1,
        capability=(8, 0) if kind == "float" else (7, 5),
    )
    if packing == "pack-quantized":
        return replace(
            layout,
            word_bits=32,
            zero_bits=0 if symmetric else bits,
            matrix_bytes=16,  # the shape before packing, as two int64
        )
    if bits != 8 or (static and not symmetric):
        raise NotCounted(f"format {packing!r} of {bits} bits")
    if packing not in ("int-quantized", "float-quantized", "naive-quantized"):
        raise NotCounted(f"format {packing!r}")
    if static:  # the scale of its input, in the model's dtype as the weight's
        layout = replace(layout, input_scales=1)
    return replace(layout, zero_bits=0 if symmetric else 8)


def _words(kind: str, bits: int, strategy: str, size: int) -> str:
    name = f"fp{bits}" if kind == "float" else f"int{bits}"
    each = {"tensor": "matrix", "channel": "output", "block": "block"}.get(strategy)
    return f"{name}, a scale for each {each}" if each else f"{name} in groups of {size}"


def _modelopt(config: Config) -> Scheme:
    """NVIDIA's modelopt, in the form of vLLM (``config_groups``) and in its own."""
    config = config.get("quantization") or config
    kept = _names(config, "ignore", "exclude_modules")
    groups = config.get("config_groups")
    if groups:
        return _grouped(
            [
                (
                    _modelopt_layout(group),
                    wildcard_list(_targets(group)) if _targets(group) else every,
                )
                for group in _group_mappings(groups)
            ],
            kept,
            wildcard_list,
        )
    layers = config.get("quantized_layers")
    if not layers:
        layout = _algorithm(config.get("quant_algo"))
        return _grouped([(layout, every)], kept, wildcard_list)
    by_kind: dict[str, list[str]] = {}
    for name, how in layers.items():
        by_kind.setdefault(str(how.get("quant_algo")), []).append(name)
    return _grouped(
        [(_algorithm(kind), wildcard_list(names)) for kind, names in by_kind.items()],
        kept,
        wildcard_list,
    )


def _targets(group: Config) -> tuple[str, ...]:
    """Names of modules; ``Linear`` is every one of them."""
    return tuple(item for item in _names(group, "targets") if item != "Linear")


def _modelopt_layout(group: Config) -> Format:
    weights, inputs = group.get("weights") or {}, group.get("input_activations")
    kind = weights.get("num_bits"), weights.get("type"), weights.get("group_size")
    if kind == (4, "float", 16):
        return formats.nvfp4(1 + (inputs is not None))
    if kind == (8, "float", None):
        return replace(formats.FP8_TENSOR, matrix_bytes=4 * (inputs is not None))
    raise NotCounted(f"weights {dict(weights)!r}")


def _algorithm(name: object) -> Format:
    """The layout that ``quant_algo`` names."""
    known = {
        "NVFP4": formats.nvfp4(2),
        "W4A16_NVFP4": formats.nvfp4(1),
        "FP8": replace(formats.FP8_TENSOR, matrix_bytes=4),
    }
    if name not in known:
        raise NotCounted(f"quant_algo {name!r}")
    return known[str(name)]


METHODS: dict[str, Callable[[Config], Scheme]] = {
    "fp8": _fp8,
    "fbgemm_fp8": _fbgemm,
    "mxfp4": _mxfp4,
    "awq": _awq,
    "gptq": _gptq,
    "bitsandbytes": _bitsandbytes,
    "torchao": _torchao,
    "compressed-tensors": _compressed,
    "modelopt": _modelopt,
}
"""Readers by ``quant_method``; whatever is none of these is named as not counted."""


def method_of(config: Config) -> str:
    """The method's name: modelopt's files may name none, or another with their ``quant_algo``."""
    producer = config.get("producer") or {}
    inner = config.get("quantization") or {}
    if producer.get("name") == "modelopt" or config.get("quant_algo") or inner.get("quant_algo"):
        return "modelopt"
    return (
        str(config.get("quant_method") or "unnamed")
        .replace("_", "-")
        .replace("fbgemm-fp8", "fbgemm_fp8")
    )
