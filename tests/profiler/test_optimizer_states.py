"""Optimizer states and what a step holds, against the real optimizers' tensors on a tiny module."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from rmtscale.costs.optimizers import state_bytes, work_bytes
from rmtscale.costs.parameter_shapes import count_numbers, parameter_tensors
from rmtscale.costs.parameters import count_parameters
from rmtscale.profiler.optimizers import make_optimizer
from rmtscale.rmt.build import build_backbone
from rmtscale.specs.catalog import PRESETS
from tests.costs.oracle_memory import LiveBytes, shrink

REAL = ("adamw", "adamw-fused", "adafactor", "lion", "muon", "sgd")


def kept(optimizer: Any) -> int:
    """Bytes of all states but the counters of steps, which are scalars."""
    parts = getattr(optimizer, "optimizers", None) or (optimizer,)
    return sum(
        value.nbytes
        for part in parts
        for state in part.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.ndim
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("preset", ["gpt2", "llama-3-8b"])
def test_states_are_the_real_ones(preset: str, name: str, dtype: torch.dtype) -> None:
    spec = shrink(PRESETS[preset], 2)
    module = build_backbone(spec, device="cpu", dtype=dtype)
    for one in module.parameters():
        one.grad = torch.ones_like(one)
    optimizer = make_optimizer(name, module)
    optimizer.step()
    tensors = parameter_tensors(spec)
    assert kept(optimizer) == state_bytes(name, tensors, dtype.itemsize)
    assert count_numbers(tensors) == count_parameters(spec).total


@pytest.mark.parametrize("preset", ["gpt2", "llama-3-8b"])
def test_states_of_8_bits_are_those_of_bitsandbytes(preset: str) -> None:
    """Only allocated: stepping on them takes a GPU. Two tables stand once for all tensors."""
    library = pytest.importorskip("bitsandbytes")
    spec = replace(shrink(PRESETS[preset], 2), vocabulary=5003)
    module = build_backbone(spec, device="cpu")
    optimizer = library.optim.AdamW8bit(module.parameters())
    (group,) = optimizer.param_groups
    for index, weight in enumerate(group["params"]):
        weight.grad = torch.zeros_like(weight)
        optimizer.init_state(group, weight, 0, index)
    held = {
        value.data_ptr(): value.nbytes
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.ndim
    }
    sizes = {weight.numel() for weight in group["params"]}
    assert min(sizes) < 4096 <= max(sizes)
    assert sum(held.values()) == state_bytes("adamw-8bit", parameter_tensors(spec), 4)


@pytest.mark.parametrize("name", ["adafactor", "lion", "muon"])
def test_a_step_holds_what_is_said(name: str) -> None:
    """Every live tensor of the second step, which takes one tensor after another."""
    spec = shrink(PRESETS["gpt2"], 2)
    module = build_backbone(spec, device="cpu")
    for one in module.parameters():
        one.grad = torch.ones_like(one)
    optimizer = make_optimizer(name, module)
    optimizer.step()
    live = LiveBytes()
    parts = getattr(optimizer, "optimizers", None) or (optimizer,)
    there = [value for part in parts for one in part.state.values() for value in one.values()]
    for one in module.parameters():
        there += [one, one.grad]
    for tensor in there:
        live.track(tensor)
    before = live.live
    tensors = parameter_tensors(spec)
    if name == "muon":  # alone: on a CPU AdamW steps without the copies that foreach holds
        optimizer = optimizer.optimizers[0]
        tensors = tuple(one for one in tensors if one.in_block and len(one.shape) == 2)
    with live:
        optimizer.step()
    said = work_bytes(name, tensors, 4)
    assert live.peak - before == pytest.approx(said, rel=0.05)


@pytest.mark.parametrize("offloaded", [False, True])
def test_copies_of_the_weights_are_stepped_on(offloaded: bool) -> None:
    module = build_backbone(shrink(PRESETS["gpt2"], 2), device="cpu", dtype=torch.bfloat16)
    optimizer = make_optimizer("sgd", module, master=True, offloaded=offloaded)
    before = [one.detach().clone() for one in optimizer.copies]
    for one in module.parameters():
        one.grad = torch.ones_like(one)
    optimizer.step()
    assert all(one.dtype == torch.float32 for one in optimizer.copies)
    assert all(not torch.equal(a, b) for a, b in zip(before, optimizer.copies, strict=True))
    assert all(one.grad is None for one in module.parameters())
    assert all(
        torch.equal(weight, copied.to(torch.bfloat16))
        for weight, copied in zip(optimizer.weights, optimizer.copies, strict=True)
    )
