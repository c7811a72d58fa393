"""Asks the real modules what they read and write: ``moved_numbers.jsonl``, one line each.

Numbers that go through the matmuls and the softmax of one eager forward pass: operands and
results. What the roofline counts is more or less by what is known (keys that are repeated for
every query head are read once by it, of a matrix of queries, keys and values the input is read
for each role): a term that changes changes it.

``python -m tests.costs.moved_numbers`` asks the modules again, for where Transformers has changed,
or a formula.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rmtscale.costs.conventions import matmul_terms
from rmtscale.costs.roofline import moved_elements
from rmtscale.profiler.real_module import module_inputs, real_module, values_of_meta
from rmtscale.rmt.build import build_backbone
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.reading import read as read_config
from rmtscale.specs.rows.catalog import ROWS
from tests.costs import oracle_memory as oracle
from tests.meta_shapes import RememberedShapes
from tests.specs.test_rows import class_name
from tests.specs.tiny_configs import TINY

FILE = Path(__file__).with_name("moved_numbers.jsonl")
FAMILIES = (
    *("gpt2", "opt-125m", "opt-350m", "gpt-neo-125m", "pythia-70m"),
    *("llama-2-7b", "llama-3-8b", "bert-base-cased"),
)
ATEN = torch.ops.aten
FACTORS = {ATEN.mm: slice(2), ATEN.bmm: slice(2), ATEN.addmm: slice(1, 3)}
FACTORS |= {ATEN.baddbmm: slice(1, 3), ATEN._softmax: slice(1)}
"""Where an operator's factors stand among its arguments."""
Line = dict[str, Any]


class Moved(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the numbers that matmuls and softmax read and write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        factors = FACTORS.get(func.overloadpacket)
        if factors is not None:
            self.numbers += out.numel() + sum(one.numel() for one in args[factors])
        return out


def spec_of(line: Line) -> ModelSpec:
    """A tiny config of the line's type, or a family's preset made small."""
    if line["model"] in PRESETS:
        return oracle.shrink(PRESETS[line["model"]], 2)
    return read_config(TINY[line["model"]], "tiny", class_name(line["model"])).spec


def counted(line: Line) -> int:
    """Numbers that the roofline has the pass read and write."""
    terms = matmul_terms(spec_of(line), line["tokens"], line["tokens"])
    return sum(
        moved_elements(term, line["batch_size"], fused=False)
        for term in terms
        if term.operator and term.flops
    )


def moved_by_module(line: Line) -> int:
    """Numbers that the real module reads and writes."""
    if line["model"] in PRESETS:
        module: Any = build_backbone(spec_of(line), dropout=False, attention="eager")
    else:
        name = class_name(line["model"])
        module = real_module(TINY[line["model"]], name, "tiny")
    inputs = module_inputs(module.eval(), line["batch_size"], line["tokens"])
    moved = Moved()
    with RememberedShapes(), values_of_meta(), moved, torch.no_grad():
        module(**inputs)
    return moved.numbers


def lines() -> Iterator[Line]:
    """Every family and every type, at two lengths and two sizes of the batch."""
    for model in (*FAMILIES, *ROWS):
        for tokens, batch in ((40, 1), (13, 3)):
            yield {"model": model, "tokens": tokens, "batch_size": batch}


def read() -> list[Line]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    asked = []
    for line in lines():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            line["moved"] = moved_by_module(line)
        line["more"] = counted(line) - line["moved"]
        asked.append(line)
    FILE.write_text("\n".join(map(json.dumps, asked)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
