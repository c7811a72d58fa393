"""Bytes of one matrix in every layout: against tensors of the layout, and the libraries' own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtscale.specs.quantization import formats
from tests.specs.quantization import module_bytes as real

INNER = st.integers(1, 40).map(lambda count: 128 * count)
OUTER = st.integers(1, 40).map(lambda count: 32 * count)
ODD = st.integers(1, 3000)


@settings(max_examples=40, deadline=None)
@given(inner=INNER, outer=OUTER)
def test_layouts_whose_shapes_must_divide(inner: int, outer: int) -> None:
    pairs = [
        (formats.awq(128), real.awq(inner, outer)),
        (formats.awq(32), real.awq(inner, outer, 32)),
        (formats.awq(-1), real.awq(inner, outer, inner)),
        (formats.gptq(4, 128), real.gptq(inner, outer)),
        (formats.gptq(3, 64), real.gptq(inner, outer, 3, 64)),
        (formats.gptq(8, -1), real.gptq(inner, outer, 8, inner)),
        (formats.MXFP4, real.mxfp4(inner, outer)),
        (formats.nvfp4(2), real.modelopt_nvfp4(inner, outer)),
        (formats.nvfp4(1), real.modelopt_nvfp4(inner, outer, 1)),
    ]
    for layout, tensors in pairs:
        assert layout.fits(inner, outer)
        assert layout.stored_bytes(inner, outer, 2) == real.packed(tensors), layout.title


@settings(max_examples=60, deadline=None)
@given(inner=ODD, outer=ODD)
def test_layouts_of_any_shape(inner: int, outer: int) -> None:
    pairs = [
        (formats.fp8_blocks(128, 128), real.fp8_blocks(inner, outer)),
        (formats.fp8_blocks(64, 64, 1), real.fp8_blocks(inner, outer, 64, 1)),
        (formats.FP8_TENSOR, real.modelopt_fp8(inner, outer, 1)),
        (formats.LLM_INT8, real.llm_int8(inner, outer)),
        (formats.NF4, real.nf4(inner, outer)),
        (formats.NF4_NESTED, real.nf4(inner, outer, nested=True)),
    ]
    for layout, tensors in pairs:
        assert layout.fits(inner, outer)
        assert layout.stored_bytes(inner, outer, 2) == real.packed(tensors), layout.title


def test_shapes_that_do_not_fit() -> None:
    assert not formats.awq(128).fits(192, 64)
    assert not formats.awq(128).fits(128, 12)
    assert not formats.gptq(4, 128).fits(48, 64)
    assert not formats.MXFP4.fits(48, 64)
    assert not formats.nvfp4(2).fits(8, 64)


def test_packed_with_bitsandbytes() -> None:
    """The tensors that bitsandbytes makes of a real matrix."""
    library = pytest.importorskip("bitsandbytes").functional
    for rows, columns in ((300, 200), (64, 64), (17, 31)):
        weight = torch.randn(rows, columns, dtype=torch.bfloat16)
        for nested, layout in ((False, formats.NF4), (True, formats.NF4_NESTED)):
            packed, state = library.quantize_4bit(
                weight, blocksize=64, quant_type="nf4", compress_statistics=nested
            )
            tensors = [packed, state.absmax, state.code]
            if nested:
                tensors += [state.offset, state.state2.absmax, state.state2.code]
            assert layout.stored_bytes(columns, rows, 2) == sum(item.nbytes for item in tensors)
        integers, scales, _ = library.int8_vectorwise_quant(weight.half())
        assert formats.LLM_INT8.stored_bytes(columns, rows, 2) == integers.nbytes + scales.nbytes


COMPRESSED: list[tuple[dict[str, Any], str, dict[str, Any] | None]] = [
    ({"num_bits": 4, "strategy": "group", "group_size": 128}, "pack-quantized", None),
    (
        {"num_bits": 4, "strategy": "group", "group_size": 32, "symmetric": False},
        "pack-quantized",
        None,
    ),
    ({"num_bits": 4, "strategy": "channel"}, "pack-quantized", None),
    ({"num_bits": 8, "strategy": "channel"}, "pack-quantized", None),
    (
        {"num_bits": 8, "strategy": "channel"},
        "int-quantized",
        {"num_bits": 8, "strategy": "token", "dynamic": True},
    ),
    (
        {"num_bits": 8, "type": "float", "strategy": "channel"},
        "float-quantized",
        {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True},
    ),
    (
        {"num_bits": 8, "type": "float", "strategy": "tensor"},
        "float-quantized",
        {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False},
    ),
    (
        {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]},
        "float-quantized",
        {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 128, "dynamic": True},
    ),
    (
        {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
        "nvfp4-pack-quantized",
        {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}
        | {"dynamic": "local"},
    ),
    (
        {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
        "nvfp4-pack-quantized",
        None,
    ),
    (
        {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}
        | {"scale_dtype": "torch.uint8"},
        "mxfp4-pack-quantized",
        None,
    ),
]
STORED = (101392, 113680, 99088, 197392, 197376, 197376, 196612, 196632, 110600, 110596, 104448)
"""Bytes of a 512 x 384 matrix in bf16 as compressed-tensors 0.20.1 stores it in each of them."""


@pytest.mark.parametrize(("place", "stored"), list(enumerate(STORED)))
def test_compressed_tensors(place: int, stored: int) -> None:
    from rmtscale.specs.quantization.linears import Linear
    from rmtscale.specs.quantization.methods import METHODS

    weights, packing, inputs = COMPRESSED[place]
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    scheme = METHODS["compressed-tensors"]({"config_groups": {"group_0": group}, "format": packing})
    linear = Linear("qkv", 512, 384, 1, ("model.layers.#.self_attn.q_proj",))
    layout = scheme.chosen(linear, linear.named(0))
    assert layout is not None
    assert layout.stored_bytes(512, 384, 2) == stored


@pytest.mark.parametrize("place", range(len(COMPRESSED)))
def test_compressed_by_the_library(place: int) -> None:
    """The numbers above are what compressed-tensors makes of a real layer."""
    compressors = pytest.importorskip("compressed_tensors.compressors")
    library = pytest.importorskip("compressed_tensors.quantization")
    weights, packing, inputs = COMPRESSED[place]
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    config = library.QuantizationConfig(
        config_groups={"group_0": group | {"format": packing}},
        format=packing,
        quantization_status="compressed",
    )
    module = torch.nn.Sequential(torch.nn.Linear(512, 384, bias=False, dtype=torch.bfloat16))
    library.apply_quantization_config(module, config)
    compressors.ModelCompressor(quantization_config=config).compress_model(module)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    assert sum(item.nbytes for item in tensors.values()) == STORED[place]


def test_packed_with_torchao() -> None:
    """The tensors that torchao makes of a real layer."""
    library = pytest.importorskip("torchao.quantization")
    from rmtscale.specs.quantization.linears import Linear
    from rmtscale.specs.quantization.methods import METHODS

    linear = Linear("qkv", 256, 384, 1, ("model.layers.#.self_attn.q_proj",))
    for name in ("Int8WeightOnlyConfig", "Float8WeightOnlyConfig"):
        module = torch.nn.Sequential(torch.nn.Linear(256, 384, bias=False, dtype=torch.bfloat16))
        library.quantize_(module, getattr(library, name)())
        weight: Any = module[0].weight
        names, _ = weight.__tensor_flatten__()
        stored = sum(getattr(weight, name).nbytes for name in names)
        config: dict[str, Any] = {"quant_type": {"default": {"_type": name, "_data": {}}}}
        layout = METHODS["torchao"](config).chosen(linear, linear.named(0))
        assert layout is not None
        assert layout.stored_bytes(256, 384, 2) == stored
