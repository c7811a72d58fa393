"""Context parallelism, as integers: three plain modules that send what each way sends.

Shape legend: B batch, n local tokens, c ranks, H heads, D head width.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as collectives
import torch.nn.functional as F
from torch import Tensor

from rmtscale.costs.layouts.collectives import count_collectives, summed
from rmtscale.specs.catalog import PRESETS
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
