"""FLOPs of a training of adapters alone, counted on the real module, as integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("peft")
import torch
from torch.utils.flop_counter import FlopCounterMode

from rmtscale.costs.flops import estimate_flops
from rmtscale.profiler.real_module import matmul_flops
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.workload import Workload
from tests.costs import oracle_memory as oracle
from tests.grids import covering
from tests.meta_shapes import RememberedShapes

ADAPTERS = (
    Adapter("lora", 3),
    Adapter("lora", 3, "all"),
    Adapter("parallel", 5),
)
FAMILIES = ("gpt2", "pythia-70m", "llama-3-8b")


@pytest.mark.parametrize(
    ("name", "adapter", "more"),
    [
        *covering(
            FAMILIES, ADAPTERS, [{}, {"checkpoint_layers": True, "dropout": None}], together=2
        ),
        ("gpt2", ADAPTERS[0], {"checkpoint_layers": True}),
    ],
)
def test_a_step_is_what_the_module_multiplies(
    name: str, adapter: Adapter, more: dict[str, Any]
) -> None:
    """Frozen weights have no gradient, and nothing goes further back than the first adapter."""
    spec = replace(oracle.shrink(PRESETS[name], 2), vocabulary=101)
    work = Workload(
        tokens=24,
        batch_size=2,
        mode="train",
        precision="fp32",
        attention="eager",
        adapter=adapter,
        **{"dropout": False} | more,
    )
    counter = FlopCounterMode(display=False)
    with RememberedShapes(), torch.device("meta"), oracle.as_on_the_gpu(), counter:
        model: Any = oracle.build(spec, work)
        ids = torch.zeros(2, 24, dtype=torch.long)
        oracle.whole_pass(model, spec, ids, train=True).loss.backward()
    counted = matmul_flops(counter)
    assert estimate_flops(spec, work, None, "matmul").by_operator() == counted
