"""Asks the real module of every model type for its peak: ``bounds.jsonl``, one line each.

The upper bound of memory is above what a module has, by a number that is known: a term of the bound
that changes changes it. Each type in its tiny config, one pass, one step, and one of either with
other sizes and another dtype.

``python -m tests.costs.bounds`` asks the modules again, for where Transformers has changed, a tiny
config, or a formula; it leaves out what Transformers cannot run.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rmtscale.costs.memory import estimate_memory
from rmtscale.profiler.real_module import module_inputs, real_module, values_of_meta
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.reading import read as read_config
from rmtscale.specs.rows.catalog import ROWS
from rmtscale.specs.workload import Workload
from tests.costs.oracle_memory import DTYPES, LiveBytes
from tests.meta_shapes import RememberedShapes
from tests.specs.test_rows import class_name
from tests.specs.tiny_configs import TINY

FILE = Path(__file__).with_name("bounds.jsonl")
Line = dict[str, Any]


def bound(line: Line) -> int:
    """Bytes that a type may take at most, as it is said without knowing how it is written."""
    spec = read_config(TINY[line["type"]], "tiny", class_name(line["type"])).spec
    assert isinstance(spec, LayeredSpec)
    spec = replace(spec, written_like="", kind="unknown")
    return estimate_memory(spec, Workload(**line["work"])).total


def peak_of_module(line: Line) -> int:
    """Bytes alive at the peak of the real module."""
    work = Workload(**line["work"])
    module: Any = real_module(
        TINY[line["type"]],
        class_name(line["type"]),
        "tiny",
        attention=work.attention,
        experts_by="grouped_mm",
        dtype=DTYPES[work.dtype],
    )
    module.train(work.train).requires_grad_(work.train)
    live = LiveBytes()
    for weights in module.parameters():
        live.track(weights)
    inputs = module_inputs(module, work.batch_size, work.tokens)
    with RememberedShapes(), values_of_meta(), live, torch.set_grad_enabled(work.train):
        outputs = module(**inputs)
        if work.train:
            logits = getattr(outputs, "logits", outputs[0])
            live.backward(torch.log_softmax(logits.float(), -1).sum())
    return live.peak


def lines() -> Iterator[Line]:
    """Every type, three times."""
    chance = random.Random(1)
    for kind in ROWS:
        every = {"attention": "eager", "optimizer": "none", "logits": "all"}
        plain = every | {"tokens": 60, "batch_size": 2, "precision": "fp32"}
        yield {"type": kind, "work": plain | {"mode": "forward"}}
        yield {"type": kind, "work": plain | {"mode": "train"}}
        other = every | {
            "tokens": chance.choice((7, 130, 300)),
            "batch_size": chance.choice((1, 3)),
            "precision": "bf16",
            "mode": chance.choice(("forward", "train")),
        }
        yield {"type": kind, "work": other}


def main() -> None:
    asked = []
    for line in lines():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                line["peak"] = peak_of_module(line)
        except (RuntimeError, ValueError, NotImplementedError, IndexError):
            continue  # more tokens than a tiny position table, or no kernel of the dtype
        line["above"] = bound(line) - line["peak"]
        asked.append(line)
    FILE.write_text("\n".join(map(json.dumps, asked)) + "\n", encoding="utf-8")


def read() -> list[Line]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
