"""Asks the real modules for their peaks in mixed precision: ``mixed_peaks.jsonl``.

Under autocast, or with adapters on frozen weights. As in ``peaks``: shapes so small that one tensor
more is seen, each kind of module at every peak candidate that it can have, and the difference of
the estimate, which is known: a term of the tape that changes changes it.

``python -m tests.costs.mixed_peaks`` asks the modules again, for where Transformers has changed, or
a formula; with ``--draw SEED TRIES`` it draws other shapes.
"""

from __future__ import annotations

import json
import random
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.checkpoint import CheckpointError

from rmtscale.costs.memory import estimate_memory
from rmtscale.errors import BadInput
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from tests.costs import oracle_memory as oracle
from tests.costs.peaks import NAMES, drawn_sizes, drawn_work
from tests.meta_shapes import RememberedShapes

FILE = Path(__file__).with_name("mixed_peaks.jsonl")
PRECISIONS = ("amp-bf16", "amp-bf16", "fp32", "bf16")
ADAPTERS: tuple[list[Any] | None, ...] = (
    *(["lora", 3, "attention"], ["lora", 5, "all"], ["parallel", 4, "attention"]),
)
LARGEST_ERROR = 0.06
Shape = dict[str, Any]


def the_case(shape: Shape) -> tuple[ModelSpec, Workload, Recurrence | None]:
    """A line as what an estimate is made of."""
    spec = replace(PRESETS[shape["model"]], **shape["sizes"])
    adapter, segments = shape["adapter"], shape["segments"]
    work = Workload(**shape["work"], adapter=Adapter(*adapter) if adapter else None)
    return spec, work, Recurrence(*segments) if segments else None


def difference(shape: Shape) -> int:
    """Bytes that the estimate has more than the real module, or fewer."""
    return estimate_memory(*the_case(shape)).total - int(shape["peak"])


def peak_of_module(shape: Shape) -> int:
    """Bytes at the peak of the real module."""
    with RememberedShapes(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return oracle.measure_step(*the_case(shape)).peak


def drawn(chance: random.Random) -> Shape:
    """A random shape that is read off a tape: autocast, or an adapter on frozen weights."""
    name, attention = chance.choice(NAMES), chance.choice(("eager", "sdpa"))
    preset, precision = PRESETS[name], chance.choice(PRECISIONS)
    sizes = drawn_sizes(chance, preset)
    work, segments = drawn_work(chance, preset, attention, precision)
    adapter = None
    if work["mode"] == "train":
        if precision != "amp-bf16" or chance.random() < 0.3:
            adapter = chance.choice(ADAPTERS)
        work["accumulate"] = chance.choice((1, 1, 2))
        work["dropout"] = chance.choice((None, False))
    else:
        work["precision"] = "amp-bf16"
    return {
        "model": name, "sizes": sizes, "work": work, "segments": segments, "adapter": adapter
    }  # fmt: skip


def draw(seed: int, tries: int) -> Iterator[Shape]:
    """Draws shapes of which the module has been asked, one of every kind of peak."""
    chance = random.Random(seed)
    seen = set()
    for _ in range(tries):
        shape = drawn(chance)
        try:
            spec, work, recurrence = the_case(shape)
            where = estimate_memory(spec, work, recurrence).peak_at
        except BadInput:  # LoRA on an encoder
            continue
        dropout = work.train and work.dropout is not False and spec.attention_dropout
        if dropout and not oracle.dropout_is_fused(spec, work.attention, work.casts.weights):
            continue
        kept = work.checkpoint_layers + 2 * work.checkpoint_segments
        adapter = shape["adapter"] and tuple(shape["adapter"])
        plain = recurrence is None
        kind = (shape["model"], work.precision, work.attention, adapter, plain, kept, where)
        if kind in seen:
            continue
        try:
            shape["peak"] = peak_of_module(shape)
        except (BadInput, CheckpointError):  # the autocast of the tests does not reach a checkpoint
            continue
        shape["difference"] = difference(shape)
        if abs(shape["difference"]) <= LARGEST_ERROR * shape["peak"]:
            seen.add(kind)
            yield shape


def read() -> list[Shape]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    if sys.argv[1:2] == ["--draw"]:
        shapes = list(draw(int(sys.argv[2]), int(sys.argv[3])))
    else:
        shapes = read()
        for shape in shapes:
            shape["peak"] = peak_of_module(shape)
            shape["difference"] = difference(shape)
    FILE.write_text("\n".join(map(json.dumps, shapes)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
