"""Asks the types whose memory is known as a family's is for their peaks: ``known_peaks.jsonl``.

As in ``peaks``: small shapes, each kind of attention, every step, and the difference of the
estimate. ``python -m tests.costs.known_peaks`` asks the modules again.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rmtscale.costs.memory import estimate_memory
from rmtscale.specs.huggingface import read_mapping
from rmtscale.specs.workload import Workload
from tests.costs.test_layered_memory import KERNELS, KNOWN, STEPS, small, step_of
from tests.specs.test_rows import NO_HEAD

FILE = Path(__file__).with_name("known_peaks.jsonl")
Line = dict[str, Any]


def config_of(line: Line) -> tuple[dict[str, Any], str]:
    """A small config of the line's type, without a window that cuts, and its class."""
    config, name = small(line["type"], **line["sizes"])
    if "sliding_window" in config or line["type"] == "phi3":  # in whose class it is None
        config["sliding_window"] = 600
    return config, name


def difference(line: Line) -> int:
    """Bytes that the estimate has more than the real module, or fewer."""
    spec = read_mapping(config_of(line)[0], "small").spec
    return estimate_memory(spec, Workload(**line["work"])).total - int(line["peak"])


def peak_of_module(line: Line) -> int:
    """Bytes at the peak of the real module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return step_of(*config_of(line), Workload(**line["work"]))[1]


def lines() -> Iterator[Line]:
    """Every type at every step, with a kind of attention and sizes that are drawn."""
    chance = random.Random(1)
    for kind in KNOWN:
        for step in [*STEPS, {"mode": "train", "optimizer": "none"}] * 2 * (kind not in NO_HEAD):
            attention, dtype = chance.choice(KERNELS)
            work = {
                "tokens": chance.choice((9, 70, 200)),
                "batch_size": chance.choice((1, 3)),
                "attention": attention,
                "precision": dtype,
                "dropout": False,
                "logits": "all",
            }
            sizes = {
                "vocab_size": chance.choice((50, 301, 3001)),
                "intermediate_size": chance.choice((208, 400, 800)),
                "num_hidden_layers": chance.choice((2, 3)),
            }
            yield {"type": kind, "sizes": sizes, "work": work | step}
    # Few tokens through wide experts: the first grouped matmul's gradients are the peak.
    for kind, width in (("mixtral", "intermediate_size"), ("qwen3_moe", "moe_intermediate_size")):
        work = {"tokens": 3, "attention": "eager", "mode": "train", "optimizer": "none"}
        work |= {"precision": "bf16", "dropout": False}
        sizes = {"vocab_size": 50, width: 3000, "num_hidden_layers": 1}
        yield {"type": kind, "sizes": sizes, "work": work}


def main() -> None:
    asked = []
    for line in lines():
        line["peak"] = peak_of_module(line)
        line["difference"] = difference(line)
        asked.append(line)
    FILE.write_text("\n".join(map(json.dumps, asked)) + "\n", encoding="utf-8")


def read() -> list[Line]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
