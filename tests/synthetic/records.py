"""Records that nobody measured, made of formulas: clearly synthetic, for tests only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rmtscale.costs.memory import estimate_memory
from rmtscale.profiler.prediction import predict
from rmtscale.records.environment import Environment, GpuState
from rmtscale.records.measurement import Measurement, Memory, Samples
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol, Record
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device

MACHINE = "Synthetic GPU 80GB"
GIB = 1024**3
LENGTHS = tuple(range(1000, 9000, 1000))


def environment(gpu: str | None = MACHINE, **values: Any) -> Environment:
    """Of a machine that does not exist."""
    state = GpuState(sm_clock_mhz=1000, throttle_reasons=())
    base: dict[str, Any] = {
        "platform": "Linux synthetic",
        "python": "3.12.0",
        "processor": "Synthetic CPU",
        "processor_threads": 16,
        "packages": {"rmtscale": "0.1.0", "torch": "2.11.0", "transformers": "5.17.0"},
        "commit": "0" * 40,
        "cuda": "12.8" if gpu else None,
        "driver": "570.0" if gpu else None,
        "gpu": gpu,
        "gpu_memory_bytes": 140 * GIB if gpu else None,
        "before": state if gpu else None,
        "after": state if gpu else None,
    }
    return Environment(**{**base, **values})


def point(**values: Any) -> Point:
    """A point of Figure 10, but for what is given."""
    base: dict[str, Any] = {
        "model": PRESETS["gpt2"],
        "method": "full",
        "tokens": 1000,
        "mode": "train",
        "attention": "eager",
        "optimizer": "adamw",
        "dropout": True,
        "memory_limit_bytes": 80 * GIB,
    }
    if values.get("mode") == "forward":
        base |= {"optimizer": None, "dropout": False}
    if values.get("method") == "rmt":
        base |= {"segment_size": 500, "memory_tokens": 2}
    return Point(**{**base, **values})


def record(
    which: Point,
    *,
    gpu: str | None = MACHINE,
    slower: float = 1.0,
    larger: float = 1.06,
    jitter: float = 0.01,
    **measured: Any,
) -> Record:
    """As if measured: the formulas' numbers times a factor; out of memory beyond the limit."""
    predicted = predict(which, find_device("a100-80gb"))
    peak = int(estimate_memory(which.built_model, which.workload(), which.recurrence()).total)
    seconds = (predicted.seconds or 1e-3) * 1.8 * slower + (0.03 if which.method == "rmt" else 0.02)
    steps = tuple(seconds * (1 + jitter * shift) for shift in (-1, -0.5, 0, 0.5, 1))
    clock = Samples.of(steps)
    found: dict[str, Any] = {
        "outcome": "ok",
        "event_time": clock if which.device == "cuda" else None,
        "wall_time": clock,
        "memory": Memory(
            baseline_allocated_bytes=GIB,
            peak_allocated_bytes=int(peak * larger),
            peak_reserved_bytes=int(peak * 1.2),
        ),
        "matmul_ceiling_flops_per_second": 50e12,
        "energy_joules": seconds * 600,
        "attention_kernel": "math",
        "environment": environment(gpu),
    }
    limit = which.memory_limit_bytes
    if limit is not None and peak > limit:
        found |= {
            "outcome": "oom",
            "error": "out of memory",
            "stage": "warm-up",
            "event_time": None,
            "wall_time": None,
            "memory": None,
            "energy_joules": None,
            "matmul_ceiling_flops_per_second": None,
        }
    return Record.of(
        which, Protocol(), predicted, Measurement(**{**found, **measured}), "2025-01-01T00:00:00"
    )


def figure_10(lengths: Sequence[int] = LENGTHS, **values: Any) -> list[Record]:
    """A sweep as the paper's: full attention, RMT 500 and RMT 1000, one A/A pair."""
    keywords = {key: values.pop(key) for key in ("gpu", "slower", "larger") if key in values}
    records = []
    for tokens in lengths:
        records.append(record(point(tokens=tokens, **values), **keywords))
        for size in (500, 1000):
            one = point(method="rmt", tokens=tokens, segment_size=size, **values)
            records.append(record(one, **keywords))
    again = point(tokens=lengths[0], replicate=1, **values)
    keywords["larger"] = keywords.get("larger", 1.06) * 1.001
    keywords["slower"] = keywords.get("slower", 1.0) * 1.002
    return [*records, record(again, **keywords)]


def inference(lengths: Sequence[int] = (4000, 16000, 64000)) -> list[Record]:
    """Inference of full attention (all logits) and RMT 1000, bf16."""
    return [
        record(point(mode="forward", precision="bf16", attention="sdpa", tokens=tokens, **more))
        for tokens in lengths
        for more in (
            {"logits": "all"},
            {"method": "rmt", "segment_size": 1000, "cuda_graph": True, "logits": "last"},
        )
    ]
