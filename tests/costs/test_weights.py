"""Quantised weights in memory, traffic and time; what cannot be is refused in one line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmtscale.costs.generation import estimate_generation
from rmtscale.costs.generation_runs import Generation
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.methods.catalog import find_method
from rmtscale.costs.parameters import count_parameters
from rmtscale.costs.plan import make_plan
from rmtscale.costs.roofline import estimate_time
from rmtscale.costs.weights import dequantized_bytes, weight_bytes
from rmtscale.errors import BadInput
from rmtscale.specs.devices import DEVICES, find_device
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.quantization.reading import quantize
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

LLAMA = resolve_model("llama-3-8b")
MATRICES = 32 * (2 * 4096 * 5120 + 3 * 4096 * 14336)


def test_bytes_of_a_whole_model() -> None:
    """By hand: int8 is a byte a number and four an output; nf4 half a byte and 4 for each 64."""
    plain = count_parameters(LLAMA).total - MATRICES
    outputs = 32 * (2 * 4096 + 2 * 1024 + 2 * 14336 + 4096)
    assert weight_bytes(LLAMA, 2) == 2 * count_parameters(LLAMA).total
    assert weight_bytes(quantize(LLAMA, "int8"), 2) == 2 * plain + MATRICES + 4 * outputs
    assert weight_bytes(quantize(LLAMA, "fp8"), 2) == 2 * plain + MATRICES + 4 * 7 * 32
    assert weight_bytes(quantize(LLAMA, "nf4"), 2) == (
        2 * plain + MATRICES // 2 + MATRICES // 16 + 7 * 32 * 64
    )
    assert weight_bytes(quantize(LLAMA, "int4"), 2) == (
        2 * plain + MATRICES // 2 + MATRICES // 128 * 2 + MATRICES // 256
    )


@pytest.mark.parametrize("recurrence", [None, Recurrence(512, 10)])
@pytest.mark.parametrize("weights", ["int8", "nf4", "nf4-double", "fp8", "int4"])
def test_memory_of_a_pass(weights: str, recurrence: Recurrence | None) -> None:
    """Only the weights differ; of bitsandbytes' 4 bits a matrix as a copy is there too."""
    model, work = quantize(LLAMA, weights), Workload(tokens=4096, precision="bf16", logits="last")
    plain, stored = (estimate_memory(spec, work, recurrence) for spec in (LLAMA, model))
    saved = weight_bytes(LLAMA, 2) - weight_bytes(model, 2)
    copied = 2 * 4096 * 14336 if weights.startswith("nf4") else 0
    assert dequantized_bytes(model, 2) == copied
    assert plain.total - stored.total == saved - copied
    assert plain.confirmed
    assert not stored.confirmed


def test_a_copy_may_be_the_peak() -> None:
    """Of a short input the logits were the peak; the copied matrix is larger."""
    work = Workload(tokens=64, precision="bf16", logits="all")
    assert estimate_memory(LLAMA, work).peak_at == "at the logits"
    assert estimate_memory(quantize(LLAMA, "nf4"), work).peak_at == "inside a layer"
    assert estimate_memory(quantize(LLAMA, "int8"), work).peak_at == "at the logits"


def test_decoding_reads_what_is_stored() -> None:
    """One step reads every matrix of the layers once, as it is stored, and the head in bf16."""
    gpu, model = find_device("h200"), quantize(LLAMA, "int4")
    costs = [
        estimate_generation(spec, Generation(context_tokens=1024, new_tokens=2), gpu)
        for spec in (LLAMA, model)
    ]
    saved = weight_bytes(LLAMA, 2) - weight_bytes(model, 2)
    assert costs[0].decode.moved_bytes - costs[1].decode.moved_bytes == saved
    assert costs[0].decode.flops == costs[1].decode.flops
    assert costs[1].weight_bytes == weight_bytes(model, 2)
    assert costs[0].peak_bytes - costs[1].peak_bytes == saved
    assert costs[1].decode.seconds < 0.4 * costs[0].decode.seconds


def test_a_mixture_reads_the_experts_it_uses() -> None:
    model = resolve_model("qwen3-30b-a3b")
    stored = quantize(model, "fp8")
    read = [
        estimate_generation(
            spec, Generation(context_tokens=64, new_tokens=2), find_device("h200")
        ).decode.moved_bytes
        for spec in (model, stored)
    ]
    active = 48 * (3 * 8 * 2048 * 768 + 2 * 2048 * 4096 + 2 * 2048 * 512)
    assert read[0] - read[1] == pytest.approx(active, rel=1e-5)


def test_time_of_a_pass() -> None:
    gpu, work = find_device("h200"), Workload(tokens=1, precision="bf16")
    assert (
        estimate_time(quantize(LLAMA, "int4"), work, gpu).seconds
        < 0.5 * estimate_time(LLAMA, work, gpu).seconds
    )


def test_a_plan_fits_more() -> None:
    gpu, work = find_device("rtx-4090"), Workload(tokens=1, precision="bf16")
    plain, stored = (
        make_plan(spec, work, Recurrence(512, 10), gpu, "matmul")
        for spec in (LLAMA, quantize(LLAMA, "nf4"))
    )
    assert (stored.full_longest_tokens or 0) > 2 * (plain.full_longest_tokens or 0)


def test_what_cannot_be_is_refused() -> None:
    model, gpu = quantize(LLAMA, "fp8"), find_device("v100")
    work = Workload(tokens=64, precision="fp16")
    generation = Generation(context_tokens=64, new_tokens=2, dtype="fp16")
    words = "need compute capability 8.0, v100-32gb has 7.0; expected plain weights"
    for refused in (
        lambda: estimate_memory(model, work, None, gpu),
        lambda: estimate_time(model, work, gpu),
        lambda: estimate_generation(model, generation, gpu),
        lambda: make_plan(model, work, Recurrence(512, 10), gpu, "matmul"),
    ):
        with pytest.raises(BadInput, match=words):
            refused()
    with pytest.raises(BadInput, match="have no gradient, expected mode forward, adapter"):
        estimate_memory(model, replace(work, mode="train"))
    with pytest.raises(BadInput, match="method 'mamba': is known on plain weights"):
        estimate_memory(model, work, find_method("mamba", LLAMA))
    assert estimate_memory(model, work, None, find_device("mi300x")).total  # no CUDA: not known


def test_every_cuda_device_has_its_capability() -> None:
    for device in DEVICES.values():
        assert (device.compute_capability is not None) == device.title.startswith("NVIDIA")
