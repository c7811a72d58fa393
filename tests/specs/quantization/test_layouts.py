"""What a config of each method makes of one matrix: bytes by hand, and which GPUs take it."""

from __future__ import annotations

from typing import Any

import pytest

from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.quantization.linears import linears
from rmtscale.specs.quantization.methods import METHODS
from rmtscale.specs.quantization.reading import quantize

INNER, OUTER = 128, 256
ONE = INNER * OUTER
INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}
INT8 = {"num_bits": 8, "type": "int", "strategy": "channel"}
FLOAT8 = {"num_bits": 8, "type": "float"}
PACKED, STATIC = "pack-quantized", {"num_bits": 8, "dynamic": False}
ASYMMETRIC = {"symmetric": False}


def packed(packing: str, weights: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "format": packing,
        "config_groups": {"g": {"targets": ["Linear"], "weights": weights} | more},
    }


def modelopt(weights: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"config_groups": {"g": {"targets": ["Linear"], "weights": weights} | more}}


CASES: list[tuple[str, dict[str, Any], int, tuple[int, int]]] = [
    ("fp8", {}, ONE + 4, (8, 0)),
    ("fp8", {"activation_scheme": "static"}, ONE + 4 + 4, (8, 0)),
    ("fp8", {"weight_block_size": [128, 128]}, ONE + 2 * 4, (8, 0)),
    ("fp8", {"weight_block_size": [32, 128], "scale_fmt": "ue8m0"}, ONE + 8 * 1, (8, 0)),
    ("fbgemm_fp8", {}, ONE + 256 * 4 + 4, (8, 0)),
    ("mxfp4", {}, ONE // 2 + 256 * 4 * 1, (7, 5)),
    ("awq", {}, ONE // 2 + 256 * 2 + 256 // 2, (7, 5)),
    ("awq", {"q_group_size": 32}, ONE // 2 + 4 * (256 * 2 + 256 // 2), (7, 5)),
    ("awq", {"group_size": -1}, ONE // 2 + 256 * 2 + 256 // 2, (7, 5)),
    ("gptq", {}, ONE // 2 + 256 * 2 + 256 // 2 + 128 * 4, (6, 0)),
    ("gptq", {"bits": 8, "group_size": 32}, ONE + 4 * (256 * 2 + 256) + 128 * 4, (6, 0)),
    ("gptq", {"bits": 3, "group_size": -1}, ONE * 3 // 8 + 512 + 256 * 3 // 8 + 512, (6, 0)),
    ("gptq", {"bits": 2, "group_size": 64}, ONE // 4 + 2 * (512 + 256 // 4) + 512, (6, 0)),
    ("bitsandbytes", {"load_in_8bit": True}, ONE + 256 * 4, (7, 5)),
    ("bitsandbytes", {"load_in_4bit": True}, ONE // 2 + ONE // 64 * 4 + 16 * 4, (6, 0)),
    (
        "bitsandbytes",
        {"load_in_4bit": True, "bnb_4bit_use_double_quant": True},
        ONE // 2 + ONE // 64 + 2 * 4 + 16 * 4 + 256 * 4 + 4,
        (6, 0),
    ),
    ("torchao", {"quant_type": "int8_weight_only"}, ONE + 256 * 4 + 256, (0, 0)),
    ("torchao", {"quant_type": "float8_weight_only"}, ONE + 256 * 4, (8, 0)),
    ("compressed-tensors", packed(PACKED, INT4), ONE // 2 + 4 * 256 * 2 + 16, (7, 5)),
    (
        "compressed-tensors",
        packed(PACKED, INT4 | ASYMMETRIC),
        ONE // 2 + 4 * (256 * 2 + 256 // 2) + 16,
        (7, 5),
    ),
    ("compressed-tensors", packed("int-quantized", INT8), ONE + 256 * 2, (7, 5)),
    ("compressed-tensors", packed("int-quantized", INT8 | ASYMMETRIC), ONE + 256 * 3, (7, 5)),
    (
        "compressed-tensors",
        packed("float-quantized", FLOAT8 | {"strategy": "tensor"}, input_activations=STATIC),
        ONE + 2 + 2,
        (8, 0),
    ),
    (
        "compressed-tensors",
        packed("naive-quantized", FLOAT8 | {"strategy": "block", "block_structure": [64, 32]}),
        ONE + 4 * 4 * 2,
        (8, 0),
    ),
    ("compressed-tensors", packed("nvfp4-pack-quantized", INT4), ONE // 2 + 256 * 8 + 4, (8, 0)),
    (
        "compressed-tensors",
        packed("nvfp4-pack-quantized", INT4, input_activations=STATIC),
        ONE // 2 + 256 * 8 + 8,
        (8, 0),
    ),
    ("compressed-tensors", packed("mxfp4-pack-quantized", INT4), ONE // 2 + 256 * 4, (7, 5)),
    ("modelopt", {"quant_algo": "FP8"}, ONE + 4 + 4, (8, 0)),
    ("modelopt", {"quant_algo": "NVFP4"}, ONE // 2 + 256 * 8 + 8, (8, 0)),
    ("modelopt", {"quant_algo": "W4A16_NVFP4"}, ONE // 2 + 256 * 8 + 4, (8, 0)),
    ("modelopt", modelopt(FLOAT8), ONE + 4, (8, 0)),
    ("modelopt", modelopt(FLOAT8, input_activations=STATIC), ONE + 8, (8, 0)),
    (
        "modelopt",
        modelopt({"num_bits": 4, "type": "float", "group_size": 16}),
        ONE // 2 + 256 * 8 + 4,
        (8, 0),
    ),
]


@pytest.mark.parametrize(("method", "config", "stored", "capability"), CASES)
def test_one_matrix(
    method: str, config: dict[str, Any], stored: int, capability: tuple[int, int]
) -> None:
    every = linears(PRESETS["llama-3-8b"])
    number, linear = next(one for one in every if one[1].term == "dense_up")
    if method == "mxfp4":
        linear = linear._replace(term="expert_up")
    layout = METHODS[method](config).chosen(linear, linear.named(number))
    assert layout is not None
    assert layout.stored_bytes(INNER, OUTER, 2) == stored
    assert layout.capability == capability
    assert layout.dequantized == ("load_in_4bit" in config)
    assert layout.fits(INNER, OUTER)


def test_every_method_is_there() -> None:
    assert {case[0] for case in CASES} == set(METHODS)


def test_a_title_names_the_method_once() -> None:
    """Where the layout begins with its name it is not said twice."""
    titles = {
        "int8": "int8, a scale for each output",
        "fp8": "fp8, a scale for each matrix",
        "nf4": "nf4 in blocks of 64",
        "nf4-double": "nf4 in blocks of 64, double",
        "int4": "int4 in groups of 128, zero points",
        "int4:64": "int4 in groups of 64, zero points",
    }
    for weights, title in titles.items():
        quantization = quantize(PRESETS["llama-3-8b"], weights).quantization
        assert quantization is not None
        assert quantization.title == title
