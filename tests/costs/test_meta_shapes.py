"""What is remembered of operators on ``meta`` changes nothing that is measured."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")
import torch
from torch.utils.flop_counter import FlopCounterMode

from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from tests.costs import oracle_memory as oracle
from tests.meta_shapes import RememberedShapes


@pytest.mark.parametrize("name", ["gpt2", "llama-3-8b", "bert-base-cased"])
def test_the_same_peak_made_of_the_same_tensors(name: str) -> None:
    spec, recurrence = oracle.shrink(PRESETS[name], 2), Recurrence(40, 3)
    workload = Workload(tokens=90, mode="train", dropout=False)
    plain = oracle.measure_step(spec, workload, recurrence)
    for _ in range(2):
        with RememberedShapes() as shapes:
            again = oracle.measure_step(spec, workload, recurrence)
        assert again.peak == plain.peak
        assert again.at_peak == plain.at_peak
    assert shapes.saved > 500


def run(x: torch.Tensor) -> list[Any]:
    linear = torch.nn.Linear(x.shape[-1], 7, device="meta")
    y = linear(x.expand(3, 2, -1)).transpose(0, 1).softmax(-1)
    top, places = y.topk(2)
    out = [y, y[:, 1:], top, places, y.contiguous(), y.sum(), *y.split(1), y.relu_()]
    return [(one.shape, one.stride(), one.dtype, one.untyped_storage().nbytes()) for one in out]


def test_layouts_and_flops_are_the_same() -> None:
    for shape in ((2, 5), (1, 5)):
        x = torch.empty(shape, device="meta")
        with FlopCounterMode(display=False) as plain:
            wanted = run(x)
        for _ in range(2):
            with RememberedShapes(), FlopCounterMode(display=False) as counter:
                assert run(x) == wanted
            assert counter.get_total_flops() == plain.get_total_flops() > 0


def test_results_are_tensors_of_their_own() -> None:
    x = torch.empty(4, device="meta")
    with RememberedShapes() as shapes:
        one, two = x + 1, x + 1
        assert one.untyped_storage()._cdata != two.untyped_storage()._cdata
        assert x.view(2, 2).untyped_storage()._cdata == x.untyped_storage()._cdata
        product = torch.ops.aten._unsafe_view(x, [2, 2])  # a view that does not say so
        assert product.untyped_storage()._cdata == x.untyped_storage()._cdata
        again = torch.ops.aten._unsafe_view(x, [2, 2])
        assert again.untyped_storage()._cdata == x.untyped_storage()._cdata
    assert shapes.saved == 1


def test_real_numbers_are_always_worked_out() -> None:
    with RememberedShapes() as shapes:
        assert [(torch.ones(2) * factor).sum().item() for factor in (1, 2)] == [2, 4]
    assert shapes.saved == 0


def test_the_default_dtype_is_part_of_what_is_asked() -> None:
    before, dtypes = torch.get_default_dtype(), []
    try:
        for dtype in (torch.float32, torch.float64):
            torch.set_default_dtype(dtype)
            with RememberedShapes():
                dtypes.append(torch.empty(3, device="meta").dtype)
    finally:
        torch.set_default_dtype(before)
    assert dtypes == [torch.float32, torch.float64]
