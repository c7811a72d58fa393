"""Draws tiny shapes and asks the real modules for their peaks: ``peaks.jsonl``, one line each.

A tolerance of a few percent hides a wrong term that is small. A shape so small that one tensor
more is seen, its peak as the real module has it on ``meta`` (``oracle_memory``), and by how many
bytes the estimate differs: that difference is known, and a term that changes changes it. Shapes
are drawn until every kind of module has been at every peak candidate that it can have, with each
kind of attention.

``python -m tests.costs.peaks`` asks the modules again, for where Transformers has changed, or a
formula; with ``--draw SEED TRIES`` it draws other shapes.
"""

from __future__ import annotations

import json
import random
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rmtscale.costs.memory import estimate_memory
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from tests.costs import oracle_memory as oracle
from tests.meta_shapes import RememberedShapes

FILE = Path(__file__).with_name("peaks.jsonl")
NAMES = (
    *("gpt2", "opt-125m", "opt-350m", "gpt-neo-125m", "pythia-70m"),
    *("llama-2-7b", "llama-3-8b", "bert-base-cased"),
)
KERNELS = (("eager", "fp32"), ("sdpa", "fp32"), ("eager", "bf16"), ("sdpa", "fp16"))
ACTIVATIONS = ("relu", "gelu", "gelu_pytorch_tanh", "silu", "gelu_new")
LARGEST_ERROR = 0.04
Shape = dict[str, Any]


def the_case(shape: Shape) -> tuple[ModelSpec, Workload, Recurrence | None]:
    """A line as what an estimate is made of."""
    spec = replace(PRESETS[shape["model"]], **shape["sizes"])
    segments = shape["segments"]
    return spec, Workload(**shape["work"]), Recurrence(*segments) if segments else None


def difference(shape: Shape) -> int:
    """Bytes that the estimate has more than the real module, or fewer."""
    return estimate_memory(*the_case(shape)).total - int(shape["peak"])


def peak_of_module(shape: Shape) -> int:
    """Bytes at the peak of the real module."""
    with RememberedShapes(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return oracle.measure_step(*the_case(shape)).peak


def about(chance: random.Random, *sizes: int) -> int:
    """About one of these, so that no two sizes are equal by chance."""
    return chance.choice(sizes) + chance.randrange(4)


def drawn_sizes(chance: random.Random, preset: ModelSpec) -> Shape:
    """A tiny module of the preset's kind: any of its sizes may be the one that counts."""
    heads, head_width = chance.choice((1, 2, 4)), chance.choice((8, 16, 32))
    grouped = preset.kv_heads != preset.heads
    heads = 4 if grouped else heads
    width = heads * head_width
    if preset.kind == "llama":
        width = chance.choice((16, 48, 96))
    sizes: Shape = {
        "layers": 2 * chance.choice((1, 2)) if preset.local_layers else chance.choice((1, 2, 3)),
        "width": width,
        "heads": heads,
        "kv_heads": 2 if grouped else heads,
        "head_width": head_width,
        "mlp_width": about(chance, 5, 40, 200, 600),
        "vocabulary": about(chance, 3, 30, 300, 3000),
        "embedding_width": width,
        "hidden_dropout": 0.0 if preset.kind == "llama" else chance.choice((0.0, 0.1)),
        "attention_dropout": chance.choice((0.0, 0.1)),
    }
    if preset.projected_embedding:
        sizes["embedding_width"] = width + chance.choice((-4, 8, 40))
    if preset.rotary_width:
        sizes["rotary_width"] = head_width if preset.kind == "llama" else head_width // 4
    if preset.local_layers:
        sizes["local_layers"] = sizes["layers"] // 2
    if preset.positions is not None and preset.position_rows:
        sizes["positions"] = positions = 300 + chance.randrange(9)
        sizes["position_rows"] = positions + preset.position_rows - preset.positions
    if preset.decoder:
        sizes["tied_head"] = chance.choice((True, False))
    else:
        sizes["labels"] = chance.choice((2, 3, 50))
    if not preset.gated_mlp and chance.random() < 0.4:
        sizes["activation"] = chance.choice(ACTIVATIONS)
    return sizes


def drawn_work(
    chance: random.Random, preset: ModelSpec, attention: str, dtype: str
) -> tuple[Shape, list[int] | None]:
    """A pass or a step, and the size and the memory tokens of its segments."""
    work: Shape = {
        "tokens": about(chance, 1, 12, 60, 200),
        "batch_size": chance.choice((1, 1, 2, 3)),
        "attention": attention,
        "precision": dtype,
        "mode": chance.choice(("forward", "train", "train", "train")),
    }
    segments = None
    if chance.random() < 0.6:
        memory = chance.choice((0, 1, 5))
        overhead = 2 * memory if preset.decoder else memory + 3
        segments = [about(chance, 2, 20, 80) + overhead, memory]
        text = segments[0] - overhead
        work["tokens"] = chance.choice((1, 2, 3, 5)) * text - chance.choice((0, text // 3))
    if work["mode"] == "forward":
        last = segments is None and preset.decoder and chance.random() < 0.3
        work["logits"] = "last" if last else "all"
        return work, segments
    work["optimizer"] = chance.choice(("adamw", "sgd", "none", "none", "none"))
    match chance.randrange(4 if segments else 2):
        case 0:
            work["checkpoint_layers"] = True
        case 2:
            work["checkpoint_segments"] = True
    if segments and chance.random() < 0.4:
        work["bptt_segments"] = chance.choice((1, 2, 3))
    return work, segments


def drawn(chance: random.Random, name: str, kernel: tuple[str, str]) -> Shape:
    """A random shape of a preset's kind, with a kind of attention and a dtype."""
    preset = PRESETS[name]
    sizes = drawn_sizes(chance, preset)
    work, segments = drawn_work(chance, preset, *kernel)
    return {"model": name, "sizes": sizes, "work": work, "segments": segments}


def kind_of_peak(shape: Shape) -> tuple[Any, ...]:
    """The kinds of which one shape is enough."""
    work, segments = shape["work"], shape["segments"]
    kept = [name for name in ("checkpoint_layers", "checkpoint_segments") if name in work]
    where = estimate_memory(*the_case(shape)).peak_at
    kernel = (work["attention"], work["precision"]) if segments is None else work["attention"]
    return shape["model"], kernel, segments is None, work["mode"], *kept, where


def draw(seed: int, tries: int, most: int = 1) -> Iterator[Shape]:
    """Draws shapes of which the module has been asked, of every kind of peak one or a few."""
    chance = random.Random(seed)
    seen: Counter[tuple[Any, ...]] = Counter()
    for _ in range(tries):
        name, kernel = chance.choice(NAMES), chance.choice(KERNELS)
        shape = drawn(chance, name, kernel)
        spec, work, _ = the_case(shape)
        dropout = work.train and spec.attention_dropout
        if dropout and not oracle.dropout_is_fused(spec, work.attention, work.dtype):
            continue
        kind = kind_of_peak(shape)
        if seen[kind] == most:
            continue
        shape["peak"] = peak_of_module(shape)
        shape["difference"] = difference(shape)
        if abs(shape["difference"]) <= LARGEST_ERROR * shape["peak"]:
            seen[kind] += 1
            yield shape


def write(shapes: list[Shape]) -> None:
    lines = [json.dumps(shape) for shape in shapes]
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read() -> list[Shape]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def one_of_each(shapes: list[Shape]) -> list[Shape]:
    """One shape of each dtype in a pass and in a step, of full attention and of an RMT."""
    chosen: dict[tuple[Any, ...], Shape] = {}
    for shape in random.Random(1).sample(shapes, len(shapes)):
        work, segments = shape["work"], shape["segments"]
        several = bool(segments) and work["tokens"] > segments[0]
        chosen.setdefault((work["mode"], work["precision"], bool(segments), several), shape)
    return list(chosen.values())


def main() -> None:
    if sys.argv[1:2] == ["--draw"]:
        shapes = list(draw(int(sys.argv[2]), int(sys.argv[3])))
    else:
        shapes = read()
        for shape in shapes:
            shape["peak"] = peak_of_module(shape)
            shape["difference"] = difference(shape)
    write(shapes)


if __name__ == "__main__":
    main()
