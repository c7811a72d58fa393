"""The paper's losses of language modelling, and which of them stand beside ours."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from rmtscale.study.figures.language.groups import InputSize
from rmtscale.study.figures.published_points import published_rows

FIXED, MIXING = "fixed_length", "length_mixing"
"""The curricula, as the paper's points name them."""
PAPER_PERPLEXITY = 9.14
"""GPT-2 at input size 128."""
PAPER_BITS = 0.843
"""GPT-2 at input size 1024."""
LONG_INPUT = 512
"""From here on a segment stands beside the paper's longer input."""


class Published(NamedTuple):
    """Curves of the paper at one input size."""

    input_size: int
    baseline_bits: float
    """Bits per byte of its model without memory."""
    curves: Mapping[int, Mapping[int, float]]
    """Bits per byte by segments trained on and segments read."""

    def changes(self, trained: int) -> dict[int, float]:
        """Returns loss over its own baseline's, less one: free of tokenizer and unit."""
        points = self.curves.get(trained, {})
        return {count: bits / self.baseline_bits - 1 for count, bits in points.items()}

    def like(self, trained: Collection[int]) -> list[int]:
        """Lists the trainings of the paper that we have too; all where none is of 2 or more."""
        shared = set(self.curves) & set(trained)
        return sorted(shared if shared - {1} else self.curves)


def published(curriculum: str = MIXING) -> dict[int, Published]:
    """Reads the paper's curves by its input size; of the longer one there are those with mixing."""
    shorter: dict[int, dict[int, float]] = {}
    nats_per_bit = 1.0
    for row in published_rows("language", "published_128.csv"):
        if row["curriculum"] == curriculum and row["input_size"] == "128":
            trained, count = int(row["trained_segments"]), int(row["eval_segments"])
            shorter.setdefault(trained, {})[count] = float(row["bpb"])
            nats_per_bit = float(row["loss_nats"]) / float(row["bpb"])
    curves = {128: Published(128, math.log(PAPER_PERPLEXITY) / nats_per_bit, shorter)}
    if curriculum == MIXING:
        longer: dict[int, dict[int, float]] = {}
        for row in published_rows("language", "published_1024.csv"):
            trained = int(row["trained"].split()[0])
            longer.setdefault(trained, {})[int(row["eval_segments"])] = float(row["bpb"])
        curves[1024] = Published(1024, PAPER_BITS, longer)
    return curves


def counterpart(size: InputSize, paper: Mapping[int, Published]) -> Published | None:
    """Picks the paper's curves that stand beside an input size; None at toy size."""
    if size.segment_size >= LONG_INPUT:
        return paper.get(1024)
    return paper.get(size.segment_size)
