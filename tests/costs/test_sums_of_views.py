"""Autograd adds in place to what it holds alone, and not to a view: the gradient of a tied head."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile


@pytest.mark.parametrize(
    ("dtype", "autocast", "operator"),
    [
        (torch.float32, False, "aten::add"),
        (torch.bfloat16, False, "aten::add"),
        (torch.float32, True, "aten::add_"),  # a cast of the gradient, which is no view
    ],
)
def test_both_gradients_of_a_tied_head(dtype: torch.dtype, autocast: bool, operator: str) -> None:
    table = torch.nn.Parameter(torch.ones(50, 8, dtype=dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        hidden = torch.tanh(F.embedding(torch.zeros(1, 6, dtype=torch.long), table))
        loss = F.linear(hidden, table).float().sum()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        torch.autograd.backward(loss)
    sums = [
        event.name
        for event in seen.events() or ()
        if event.name in ("aten::add", "aten::add_") and event.input_shapes[0] == [50, 8]
    ]
    assert sums == [operator]
