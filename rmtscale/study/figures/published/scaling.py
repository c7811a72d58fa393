"""The longest input that fits, and the time of a step, against the number of GPUs."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.layouts.search import fits_somehow, search_layouts
from rmtscale.costs.time_range import TimeRange
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.devices import find_device
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

MODELS = ("llama-3-8b", "llama-3-70b", "opt-175b")
DEVICE = "a100-80gb"
GPUS = (8, 64, 256, 1024)
TOKENS, BATCH = 1_024_000, 8
RECURRENCE = Recurrence(512, 10)
_SHORTEST, _DOUBLINGS = 1000, 15


class Scaling(NamedTuple):
    """One model, one way and one number of GPUs, in training."""

    model: str
    method: str
    gpus: int
    longest_tokens: int
    """The longest of 1,000, 2,000, 4,000 and so on up to 16,384,000; 0 where none fits."""
    layout: str
    """Fastest at ``TOKENS``; empty where nothing fits."""
    seconds: float
    least_seconds: float
    most_seconds: float
    gpu_seconds_per_token: float


@lru_cache(maxsize=1)
def scaling_rows() -> tuple[Scaling, ...]:
    """Returns all rows; each takes a search and a few lengths."""
    rows = []
    for name in MODELS:
        model = resolve_model(name)
        work = Workload(
            tokens=TOKENS, batch_size=BATCH, mode="train", precision="master-bf16",
            optimizer="adamw-fused",
        )  # fmt: skip
        for method, recurrence in (("full", None), ("rmt", RECURRENCE)):
            for gpus in GPUS:
                cluster = Cluster.of(find_device(DEVICE), gpus)
                low, high = -1, _DOUBLINGS
                while high - low > 1:
                    middle = (low + high) // 2
                    longer = replace(work, tokens=_SHORTEST * 2**middle)
                    if fits_somehow(model, longer, cluster, recurrence):
                        low = middle
                    else:
                        high = middle
                best = search_layouts(model, work, cluster, recurrence).best
                between = best.time.range if best else TimeRange(0.0, 0.0)
                rows.append(
                    Scaling(
                        name,
                        method,
                        gpus,
                        _SHORTEST * 2**low if low >= 0 else 0,
                        best.layout.name if best else "",
                        best.time.seconds if best else 0.0,
                        *between,
                        best.time.gpu_seconds_per_token if best else 0.0,
                    )
                )
    return tuple(rows)
