"""Context parallelism, as integers: three plain modules that send what each way sends, and torch's
own.

Shape legend: B batch, n local tokens, c ranks, H heads, D head width.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as collectives
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.experimental._context_parallel import _attention as torch_ring

from rmtscale.costs.layouts.collectives import count_collectives, summed
from rmtscale.costs.layouts.memory import gpu_memory
from rmtscale.costs.layouts.seconds import step_time
from rmtscale.costs.layouts.torch_ring import ring_bytes
from rmtscale.profiler.shared_context import ROTATIONS
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.devices import find_device
from rmtscale.specs.layout import Layout
from rmtscale.specs.workload import Workload
from tests.costs.layouts.oracle_sharded import count, world

BATCH, TOKENS, LAYERS = 2, 56, 2
SPEC = replace(PRESETS["llama-3.2-1b"], layers=LAYERS, heads=16, kv_heads=8, head_width=4, width=64)


def _gather(query: Tensor, key: Tensor, value: Tensor, _ranks: int) -> Tensor:
    group: Any = dist.group.WORLD
    key, value = (collectives.all_gather_tensor_autograd(x, 1, group) for x in (key, value))
    return _attend(query, key, value)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, enable_gqa=True).transpose(1, 2)


def _exchange(query: Tensor, key: Tensor, value: Tensor, ranks: int) -> Tensor:
    group: Any = dist.group.WORLD

    def heads(x: Tensor) -> Tensor:
        batch, local, many, width = x.shape
        x = x.reshape(batch, local, ranks, many // ranks, width).permute(2, 0, 1, 3, 4)
        x = collectives.all_to_all_single_autograd(x.contiguous(), None, None, group)
        return x.permute(1, 0, 2, 3, 4).reshape(batch, ranks * local, many // ranks, width)

    def positions(x: Tensor) -> Tensor:
        batch, every, many, width = x.shape
        x = x.reshape(batch, ranks, every // ranks, many, width).permute(1, 0, 2, 3, 4)
        x = collectives.all_to_all_single_autograd(x.contiguous(), None, None, group)
        return x.permute(1, 2, 0, 3, 4).reshape(batch, every // ranks, many * ranks, width)

    return positions(_attend(heads(query), heads(key), heads(value)))


class _Ring(torch.autograd.Function):
    """Keys and values travel round the ring; backward once more, their gradients with them."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, ranks: int) -> Tensor:
        ctx.ranks = ranks
        ctx.save_for_backward(query, key, value)
        for _ in range(ranks - 1):
            key, value = _pass_on(key), _pass_on(value)
        return query.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        _query, key, value = ctx.saved_tensors
        of_key, of_value = torch.zeros_like(key), torch.zeros_like(value)
        for hop in range(ctx.ranks):
            if hop < ctx.ranks - 1:
                key, value = _pass_on(key), _pass_on(value)
            of_key, of_value = _pass_on(of_key), _pass_on(of_value)
        return gradient, of_key, of_value, None


def _pass_on(tensor: Tensor) -> Tensor:
    dist.send(tensor.contiguous(), 1)
    return tensor.clone()


WAYS: dict[str, Any] = {
    "gather": _gather,
    "alltoall": _exchange,
    "ring": _Ring.apply,
}


@pytest.mark.parametrize("context", WAYS)
@pytest.mark.parametrize("ranks", [2, 7, 8])
def test_what_each_way_sends(context: str, ranks: int) -> None:
    spec = replace(SPEC, kv_heads=7, heads=14) if ranks == 7 else SPEC
    work = Workload(tokens=TOKENS, batch_size=BATCH, mode="train", precision="fp32")
    layout = Layout(cp=ranks, context=context, micro_batch=BATCH)
    local = TOKENS // ranks

    def step() -> None:
        for _ in range(LAYERS):
            made = [
                torch.randn(BATCH, local, heads, spec.head_width, requires_grad=True)
                for heads in (spec.heads, spec.kv_heads, spec.kv_heads)
            ]
            WAYS[context](*made, ranks).sum().backward()

    with warnings.catch_warnings(), world(ranks):
        warnings.simplefilter("ignore")
        found = count(step).found()
    expected = [one for one in count_collectives(spec, work, layout) if one.axis == "cp"]
    assert found == summed(tuple(expected))


@pytest.mark.parametrize("context", ROTATIONS)
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("ranks", [2, 7, 8])
def test_what_torch_itself_sends(ranks: int, again: bool, context: str) -> None:
    """Its keys and values have as many heads as queries: whoever calls it repeats them."""
    spec = replace(SPEC, kv_heads=7, heads=14) if ranks == 7 else SPEC
    work = Workload(tokens=TOKENS, batch_size=BATCH, mode="train", precision="bf16")
    recompute = "full" if again else "none"
    layout = Layout(cp=ranks, context=context, micro_batch=BATCH, recompute=recompute)
    shape = (BATCH, spec.heads, TOKENS // ranks, spec.head_width)
    made: list[Any] = [torch.empty(shape, device="meta", dtype=torch.bfloat16) for _ in range(3)]

    def step() -> None:
        torch_ring.set_rotate_method(ROTATIONS[context])
        mesh = init_device_mesh("cpu", (ranks,))
        for _ in range(LAYERS):
            for _ in range(1 + again):
                out, *more = ring(mesh, *made, is_causal=True)
            ring_backward(mesh, out, *made, out, *more[:5], 0.0, True, *more[5:7])

    ring: Any = torch_ring._scaled_dot_product_ring_flash_attention
    ring_backward: Any = torch_ring._scaled_dot_product_ring_flash_attention_backward
    with warnings.catch_warnings(), world(ranks):
        warnings.simplefilter("ignore")
        counter = count(step)
    expected = [one for one in count_collectives(spec, work, layout) if one.axis == "cp"]
    assert counter.found() == summed(tuple(expected))
    sent: Counter[str] = Counter()
    for one in expected:
        sent[one.kind] += one.bytes
    assert counter.sent_bytes == sent


def test_what_torch_adds_up() -> None:
    """Counted by hand of two ranks: sums are read and written, results are read."""
    work = Workload(tokens=TOKENS, batch_size=1, mode="train", precision="bf16")
    layout = Layout(cp=2, context="torch")
    each = TOKENS // 2 * SPEC.query_width
    forward = (2 + 4 + 4) + (4 + 2)
    step = (2 + 4 + 4) + 2 * ((2 + 4 + 4) / 2 + (4 + 4) / 2)
    backward = 2 * step + 3 * (4 + 2)
    assert ring_bytes(SPEC, work, layout) == LAYERS * each * (forward + backward)
    assert ring_bytes(SPEC, work, replace(layout, context="torchring")) == LAYERS * each * (
        forward + backward
    )
    assert ring_bytes(SPEC, work, replace(layout, context="ring")) == 0
    assert ring_bytes(SPEC, work, Layout(context="torch")) == 0
    made_again = ring_bytes(SPEC, work, replace(layout, recompute="full"))
    assert made_again == LAYERS * each * (2 * forward + backward)


def test_torchs_way_takes_longer_and_more_memory_than_a_ring() -> None:
    """Eight times the heads that are sent, in fp32 one way: between nodes it shows."""
    spec, cluster = PRESETS["llama-3-70b"], Cluster.of(find_device("h100-sxm"), 64, 8)
    work = Workload(tokens=64_000, batch_size=1, mode="train", precision="amp-bf16")
    plain = Layout(tp=8, sequence_parallel=True, cp=8, zero=3, recompute="full")
    ring, torchs = plain, replace(plain, context="torch")
    a, b = (step_time(spec, work, one, cluster) for one in (ring, torchs))
    assert b.seconds > a.seconds
    assert b.context > a.context
    assert b.arithmetic > a.arithmetic
    # Without recomputation it peaks where they are there.
    kept = (replace(one, recompute="none") for one in (ring, torchs))
    small, large = (gpu_memory(spec, work, one).total for one in kept)
    local = 8_000 * spec.query_width // 8
    kv = 2 * 8_000 * spec.kv_width // 8
    written_out = spec.layers * 8_000 * 2 * (spec.query_width - spec.kv_width) // 8 * 2
    assert large - small == local * (2 * 8 * 2 + 7 * 4) - 2 * kv * 2 + written_out
