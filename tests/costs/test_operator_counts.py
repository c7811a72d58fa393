"""The estimate of operators beside the counts of the real modules, one by one."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch

from rmtscale.costs.operators import count_operators
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.workload import Workload
from tests.costs import operator_counts
from tests.costs.oracle_memory import OPTIMIZERS
from tests.costs.test_operators import Operators, counted

LINES = operator_counts.read()
THOROUGH = os.environ.get("RMTSCALE_THOROUGH") == "1"
ASKED = LINES if THOROUGH else random.Random(1).sample(LINES, 4)


def test_every_estimate_has_as_many_more_as_is_known() -> None:
    """Else a number has changed: where it is meant, ``python -m tests.costs.operator_counts``."""
    found = [
        (line, count_operators(*operator_counts.the_case(line)) - line["counted"]) for line in LINES
    ]
    assert [(line, now) for line, now in found if now != line["more"]] == []


@pytest.mark.parametrize("line", ASKED, ids=lambda line: f"{line['model']}-{line['step']}")
def test_the_module_still_starts_as_many(line: operator_counts.Line) -> None:
    assert counted(*operator_counts.the_case(line)) == line["counted"]


def test_an_optimizer_starts_lists_of_tensors() -> None:
    """AdamW's foreach form: its operators on lists, apart from those on each tensor's step."""
    counts = []
    for tensors in (1, 30):
        weights = [torch.nn.Parameter(torch.empty(2, device="meta")) for _ in range(tensors)]
        optimizer: Any = OPTIMIZERS["adamw"](weights)
        for _ in range(2):  # the first step makes the state
            for weight in weights:
                weight.grad = torch.empty_like(weight)
            with Operators() as operators:
                optimizer.step()
        counts.append(operators.count)
    each, rest = divmod(counts[1] - counts[0], 29)
    assert rest == 0
    model = PRESETS["gpt2"]  # 12 layers of 12 tensors: lists of 36 are four
    steps = {
        name: count_operators(model, Workload(tokens=9, mode="train", optimizer=name))
        for name in ("adamw", "adamw-fused", "none")
    }
    assert steps["adamw"] - steps["none"] == 4 * (counts[0] - each)
    assert steps["adamw-fused"] - steps["none"] == 4
