"""Counts the operators of the real modules: ``operator_counts.jsonl``, one line each.

The estimate differs by a few, which are known: a number of it that changes changes them.
``python -m tests.costs.operator_counts`` counts again, for where Transformers or torch has changed,
``rmtscale.rmt``, or the estimate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rmtscale.costs.operators import count_operators
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from tests.costs import oracle_memory as oracle
from tests.costs.test_operators import FAMILIES, STEPS, counted

FILE = Path(__file__).with_name("operator_counts.jsonl")
MORE: dict[str, dict[str, Any]] = STEPS | {
    "layers checkpointed": {"mode": "train", "checkpoint_layers": True},
    "two segments of BPTT": {"mode": "train", "bptt_segments": 2, "checkpoint_segments": True},
}
Line = dict[str, Any]


def the_case(line: Line) -> tuple[ModelSpec, Workload, Recurrence | None]:
    spec = replace(oracle.shrink(PRESETS[line["model"]], 2), vocabulary=300)
    fields = MORE[line["step"]] | {"precision": "fp32", "optimizer": "none"}
    work = Workload(tokens=230, attention=line["attention"], **fields)
    return spec, work, Recurrence(64, 3) if line["segments"] else None


def lines() -> Iterator[Line]:
    """Every family, both kinds of attention, every step, and both methods."""
    for name in FAMILIES:
        for attention in ("eager", "sdpa"):
            for step in MORE:
                for segments in (False, True):
                    yield {
                        "model": name, "attention": attention, "step": step, "segments": segments
                    }  # fmt: skip


def read() -> list[Line]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    asked = []
    for line in lines():
        line["counted"] = counted(*the_case(line))
        line["more"] = count_operators(*the_case(line)) - line["counted"]
        asked.append(line)
    FILE.write_text("\n".join(map(json.dumps, asked)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
