"""What each method's config quantises: against the released modules, and published sizes.

With ``RMTSCALE_CONFIGS`` naming a folder of configs every quantised one of it is held against the
real module too, minutes.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rmtscale.costs.parameters import count_parameters
from rmtscale.costs.weights import weight_bytes
from rmtscale.errors import BadInput
from rmtscale.profiler.real_module import real_module
from rmtscale.specs.huggingface import read_mapping, resolve_model
from rmtscale.specs.quantization import formats
from rmtscale.specs.quantization.reading import asked_format, quantize, read_quantization
from rmtscale.specs.reading import Reading, text_part
from tests.specs.quantization import module_bytes as real
from tests.specs.test_rows import class_name
from tests.specs.tiny_configs import TINY

CONFIGS = os.environ.get("RMTSCALE_CONFIGS")
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}


def tiny(kind: str, quantization: dict[str, Any], **changes: Any) -> Reading:
    config = {**TINY[kind], **changes, "quantization_config": quantization}
    return read_mapping(config, "tiny", class_name(kind))


def tiny_module(kind: str, **changes: Any) -> torch.nn.Module:
    return real_module({**TINY[kind], **changes}, class_name(kind), "tiny")


TRANSFORMERS = [
    ("qwen3", FP8),
    ("qwen2", {**FP8, "weight_block_size": [32, 48]}),
    ("llama", {**FP8, "weight_block_size": None}),
    ("llama", {**FP8, "activation_scheme": "static"}),
    ("qwen3_moe", {**FP8, "modules_to_not_convert": ["lm_head", "model.layers.0.mlp.gate"]}),
    ("qwen3_moe", {**FP8, "modules_to_not_convert": ["model.layers.1.self_attn"]}),
    ("qwen3_moe", {**FP8, "modules_to_not_convert": ["o_proj", "model.layers.*.experts"]}),
    ("deepseek_v3", FP8),
    ("deepseek_v32", {**FP8, "scale_fmt": "ue8m0"}),
    ("minimax_m2", {**FP8, "modules_to_not_convert": ["gate", "lm_head"]}),
    ("qwen3_5_text", FP8),
    ("mimo_v2_flash", FP8),
]


@pytest.mark.parametrize(("kind", "quantization"), TRANSFORMERS)
def test_fp8_is_what_transformers_builds(kind: str, quantization: dict[str, Any]) -> None:
    """Its quantizer replaces the linear layers of the real module on ``meta``."""
    from transformers import FineGrainedFP8Config
    from transformers.integrations.finegrained_fp8 import replace_with_fp8_linear
    from transformers.quantizers.quantizer_finegrained_fp8 import FineGrainedFP8HfQuantizer

    module = tiny_module(kind)
    parameters = sum(item.numel() for item in module.parameters())
    config = FineGrainedFP8Config(**{k: v for k, v in quantization.items() if k != "quant_method"})
    config.scale_fmt = quantization.get("scale_fmt", "float")
    kept = FineGrainedFP8HfQuantizer.get_modules_to_not_convert(
        module, config.modules_to_not_convert, module._keep_in_fp32_modules
    )
    replace_with_fp8_linear(module, modules_to_not_convert=kept, quantization_config=config)
    stored = 0
    for name, item in module.named_parameters():
        small = item.element_size() == 1 or "scale" in name
        stored += item.numel() * (item.element_size() if small else 2)
    reading = tiny(kind, quantization)
    assert weight_bytes(reading.spec, 2) == stored
    assert count_parameters(reading.spec).total == parameters
    assert stored < 2 * parameters


SHAPES = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "head_dim": 32}


def _kept_by_wildcard(patterns: list[str], name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, item) for item in patterns)


def test_modelopt() -> None:
    kept = ["lm_head", "model.layers.0.self_attn*", "*.down_proj"]
    weights = {"num_bits": 4, "type": "float", "group_size": 16}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": weights}
    quantization = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": kept}
    for config in (
        quantization | {"config_groups": {"group_0": group}},
        {"quantization": {"quant_algo": "NVFP4", "exclude_modules": kept}},
    ):
        reading = tiny("llama", config, **SHAPES)
        module = tiny_module("llama", **SHAPES)

        def layout(name: str, inner: int, outer: int) -> real.Tensors | None:
            return None if _kept_by_wildcard(kept, name) else real.modelopt_nvfp4(inner, outer)

        assert weight_bytes(reading.spec, 2) == real.bytes_of(module, layout, 2)
        assert reading.not_counted == ()


def test_mixed_layouts() -> None:
    """Two groups by name, one of them without a scale of its input, the head among them."""
    narrow = {"num_bits": 4, "type": "float", "group_size": 16}
    wide = {"num_bits": 8, "type": "float"}
    first = {"targets": [f"model.layers.{i}.self_attn.q_proj" for i in range(9)], "weights": wide}
    second = {"targets": ["lm_head", "model.layers.0.mlp"], "weights": narrow}
    groups = {"group_0": first | {"input_activations": wide}, "group_1": second}
    config = {"quant_algo": "MIXED_PRECISION", "config_groups": groups, "ignore": ["mtp*"]}
    reading = tiny("llama", config, **SHAPES)

    def layout(name: str, inner: int, outer: int) -> real.Tensors | None:
        if name.endswith("q_proj"):
            return real.modelopt_fp8(inner, outer)
        if name == "lm_head" or name.startswith("model.layers.0.mlp"):
            return real.modelopt_nvfp4(inner, outer, 1)
        return None

    assert weight_bytes(reading.spec, 2) == real.bytes_of(tiny_module("llama", **SHAPES), layout, 2)


def test_compressed_tensors_names() -> None:
    """Ignored are whole names and expressions; the name of a module around says nothing."""
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}
    kept = ["lm_head", "re:.*self_attn.*", "model.layers.0.mlp", "model.layers.1.mlp.up_proj"]
    group = {"targets": ["Linear"], "weights": weights}
    config = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": group},
        "ignore": kept,
    }

    def layout(name: str, inner: int, outer: int) -> real.Tensors | None:
        if name in kept or re.match(".*self_attn.*", name):
            return None
        return real.compressed_int4(inner, outer, 32)

    reading = tiny("llama", config, **SHAPES)
    assert weight_bytes(reading.spec, 2) == real.bytes_of(tiny_module("llama", **SHAPES), layout, 2)


SCHEMES = [
    ({"quant_method": "awq", "bits": 4, "group_size": 32}, lambda i, o: real.awq(i, o, 32)),
    ({"quant_method": "gptq", "bits": 8, "group_size": 32}, lambda i, o: real.gptq(i, o, 8, 32)),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, real.llm_int8),
    (
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        real.nf4,
    ),
    (
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True},
        lambda i, o: real.nf4(i, o, nested=True),
    ),
]


@pytest.mark.parametrize(("quantization", "packed"), SCHEMES)
@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3_moe"])
def test_all_but_the_head(kind: str, quantization: dict[str, Any], packed: Any) -> None:
    """Of GPT-2 what is Conv1D; of a mixture each expert; routers and the head stay."""
    changes = {"n_embd": 128, "n_inner": 256} if kind == "gpt2" else dict(SHAPES)
    if kind == "qwen3_moe":
        changes["moe_intermediate_size"] = 64
    reading = tiny(kind, quantization, **changes)

    def layout(name: str, inner: int, outer: int) -> real.Tensors | None:
        return None if name == "lm_head" else packed(inner, outer)

    module = tiny_module(kind, **changes)
    assert weight_bytes(reading.spec, 2) == real.bytes_of(module, layout, 2)
    assert not [note for note in reading.not_counted if "quantization" in note]


def test_some_modules_of_a_layer() -> None:
    inside = [["self_attn.k_proj"], ["mlp.up_proj", "mlp.down_proj"]]
    config = {"quant_method": "gptq", "bits": 4, "modules_in_block_to_quantize": inside}
    reading = tiny("llama", config | {"group_size": 32}, **SHAPES)
    names = ("self_attn.k_proj", "mlp.up_proj", "mlp.down_proj")

    def layout(name: str, inner: int, outer: int) -> real.Tensors | None:
        return real.gptq(inner, outer, 4, 32) if name.endswith(names) else None

    assert weight_bytes(reading.spec, 2) == real.bytes_of(tiny_module("llama", **SHAPES), layout, 2)


PUBLISHED: dict[str, tuple[str, dict[str, Any], int]] = {
    # metadata.total_size of openai's own model.safetensors.index.json
    "gpt-oss-20b": ("gpt-oss-20b", {"quant_method": "mxfp4"}, 13_761_264_768),
    "gpt-oss-120b": ("gpt-oss-120b", {"quant_method": "mxfp4"}, 65_248_815_744),
    # Llama 3 70B by AutoAWQ, nine files
    "llama-70b-awq": (
        "llama-3.1-70b",
        {"quant_method": "awq", "bits": 4, "group_size": 128},
        39_767_785_472,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    preset, quantization, total = PUBLISHED[name]
    spec = resolve_model(preset)
    found, notes = read_quantization(quantization, spec)
    assert notes == ()
    assert weight_bytes(replace(spec, quantization=found), 2) == total


def test_deepseek_v3_file() -> None:
    """Its 163 files have 688,586,727,753 bytes: the model, a further layer that predicts, headers.

    The further layer has an embedding, a head, a matrix of 2 d x d and four norms of its own; the
    correction of the routers is in fp32. Headers have 130 bytes for each of the 91,991 tensors.
    """
    shape = {"model_type": "deepseek_v3", "hidden_size": 7168, "quantization_config": FP8}
    spec = read_mapping(shape, "deepseek-v3").spec
    more = read_mapping({**shape, "num_hidden_layers": 62}, "deepseek-v3").spec
    own = 2 * (2 * 129280 * 7168 + 2 * 7168 * 7168 + 3 * 7168)
    total = weight_bytes(more, 2) + own + 59 * 256 * 2
    assert weight_bytes(spec, 2) == 673_150_552_416
    assert 120 < (688_586_727_753 - total) / 91_991 < 140


NOT_COUNTED = [
    ({"quant_method": "aqlm"}, "quantization aqlm: its layout is not known"),
    ({"bits": 4}, "quantization unnamed: its layout is not known"),
    ({"quant_method": "awq", "version": "gemv"}, "version 'gemv'"),
    ({"quant_method": "awq", "bits": 3}, "bits 3"),
    ({"quant_method": "gptq", "bits": 5}, "bits 5"),
    ({"quant_method": "gptq", "bits": 4, "dynamic": {"x": {}}}, "dynamic"),
    ({"quant_method": "bitsandbytes"}, "neither load_in_8bit nor load_in_4bit"),
    (
        {"quant_method": "torchao", "quant_type": "int4_weight_only"},
        "quant_type 'int4_weight_only'",
    ),
    ({"quant_method": "fp8", "weight_block_size": 3}, "weight_block_size 3"),
    ({"quant_method": "fp8", "expert_dtype": "fp4"}, "expert_dtype 'fp4'"),
    ({"quant_method": "compressed-tensors"}, "no config_groups"),
    ({"quant_method": "fp8", "ignored_layers": ["mlp.["]}, "expression in a list of names"),
    ({"quant_algo": "W4A8_AWQ"}, "quant_algo 'W4A8_AWQ'"),
    ({"quant_method": "awq", "bits": 4, "group_size": 50}, "expected multiples of 50 and 8"),
]


@pytest.mark.parametrize(("quantization", "words"), NOT_COUNTED)
def test_what_is_not_counted_is_named(quantization: dict[str, Any], words: str) -> None:
    reading = tiny("llama", quantization)
    (note,) = reading.not_counted
    assert words in note
    assert note.endswith("weights are taken in the dtype asked for")
    assert reading.spec.quantization is None


def test_a_type_without_names_is_named() -> None:
    reading = tiny("falcon", {"quant_method": "awq"})
    assert reading.not_counted[-1].startswith("quantization awq: the linear layers of a falcon")


def test_names_that_nothing_has_are_named() -> None:
    kept = ["lm_head", "model.norm", "model.layers.0.mlp.up_proj", "model.layers.0.mixer.q"]
    reading = tiny("llama", {**FP8, "modules_to_not_convert": kept})
    (note,) = reading.not_counted
    assert note == "quantization fp8: model.layers.0.mixer.q name nothing that is known of a llama"


def test_experts_one_by_one() -> None:
    """A list may leave out single experts."""
    kept = ["model.layers.0.mlp.experts.2.up_proj"]
    config = {"quant_algo": "FP8", "ignore": [*kept, "lm_head"]}
    reading = tiny("qwen3_moe", config)

    def layout(name: str, inner: int, outer: int) -> real.Tensors | None:
        return None if name in (*kept, "lm_head") else real.modelopt_fp8(inner, outer)

    assert weight_bytes(reading.spec, 2) == real.bytes_of(tiny_module("qwen3_moe"), layout, 2)


def test_asked_for() -> None:
    spec = resolve_model("llama-3-8b")
    assert asked_format("int4:64") == formats.awq(64)
    assert asked_format("int4") == formats.awq(128)
    for name in ("int8", "fp8", "nf4", "nf4-double", "int4"):
        quantization = quantize(spec, name).quantization
        assert quantization is not None
        assert quantization.numbers() == 32 * (2 * 4096 * 5120 + 3 * 4096 * 14336)
    for wrong in ("int3", "nf4:64", "int4:", "int4:0", "int4:x", ""):
        with pytest.raises(BadInput, match="expected int8, fp8"):
            asked_format(wrong)
    with pytest.raises(BadInput, match="expected multiples of 48 and 8"):
        quantize(spec, "int4:48")
    with pytest.raises(BadInput, match="expected a model with plain weights"):
        quantize(quantize(spec, "nf4"), "int8")
    with pytest.raises(BadInput, match="the linear layers of a bert are not named"):
        quantize(resolve_model("bert-base-uncased"), "int8")


def _quantised() -> list[str]:
    if CONFIGS is None:
        return []
    names = []
    for path in sorted(Path(CONFIGS).glob("*.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or path.stem == "TRUTH":
            continue
        if any("quantization_config" in place for place in (config, text_part(config))):
            names.append(path.stem)
    return names


@pytest.mark.skipif(CONFIGS is None, reason="RMTSCALE_CONFIGS names no folder of configs")
def test_a_folder_of_configs() -> None:
    """Every quantised file that is read is exact against its real module's tensors."""
    from tests.specs.quantization.folder_oracle import oracle_bytes

    counted, differing, missing = 0, [], []
    for name in _quantised():
        path = Path(CONFIGS or "") / f"{name}.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        try:
            reading = read_mapping(config, name)
        except BadInput:
            continue
        if reading.spec.quantization is None:
            missing.append(name)
            continue
        counted += 1
        if weight_bytes(reading.spec, 2) != oracle_bytes(config, reading):
            differing.append(name)
    assert differing == []
    assert missing == []
    assert counted
