"""Definitions of sweeps: lists that are crossed, from a TOML file, a preset or the command line.

::

    order = "short-first"

    [protocol]
    repeats = 5

    [[grid]]
    model = "gpt2"
    method = ["full", "rmt"]
    tokens = [1000, "32k"]
    segment_size = [500, 1000]
    memory_tokens = 2

Every value of a grid may be a list; all combinations are measured, each once. What does not
concern a point (a segment size with full attention, an optimizer in inference) is left out of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from rmtscale.costs.layouts.possible import why_impossible
from rmtscale.errors import BadInput, quoted_list
from rmtscale.limits import MOST_POINTS
from rmtscale.profiler.concerns import NONE, Combination, concerns, require_read
from rmtscale.profiler.presets import PRESETS
from rmtscale.profiler.sweep import ORDERS, Sweep
from rmtscale.readers import read_toml
from rmtscale.records.nvml import NoGpu, open_gpu
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol
from rmtscale.specs.adapter import ATTENTION, Adapter
from rmtscale.specs.defaults import default_precision
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.layout import CONTEXTS, Layout
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import find_precision
from rmtscale.specs.workload import OPTIMIZERS, Workload
from rmtscale.units import parse_bytes, parse_size, require_one_of

Grid = dict[str, Any]
NO_LIMIT = NO_ADAPTER = NO_LAYOUT = NONE
SHARDS = {"ddp": 0, "fsdp2": 3}
"""Ways to share weights among data ranks, and what of them ZeRO cuts."""
ALL_SEGMENTS = "all"
AUTO = "auto"
"""The GPU where there is one, else the CPU."""
DEFAULTS: Grid = {
    "method": ["full", "rmt"],
    "segment_size": 512,
    "memory_tokens": 10,
    "batch_size": 1,
    "mode": "forward",
    "precision": default_precision(),
    "attention": "sdpa",
    "optimizer": "adamw",
    "accumulate": 1,
    "adapter": NO_ADAPTER,
    "adapter_rank": 16,
    "adapter_targets": ATTENTION,
    "offload_optimizer": False,
    "host_memory": NO_LIMIT,
    "dropout": True,
    "bptt_segments": ALL_SEGMENTS,
    "checkpoint_segments": False,
    "checkpoint_layers": False,
    "logits": "last",
    "cuda_graph": True,
    "capture": False,
    "compile_step": False,
    "checkpoint": "",
    "shard": NO_LAYOUT,
    "tp": 1,
    "cp": 1,
    "context": "torch",
    "state_by_state": False,
    "device": AUTO,
    "memory_limit": NO_LIMIT,
}
_KEYS = ("model", "tokens", *DEFAULTS)
_TOP_LEVEL = ("preset", "grid", "set", "protocol", "order", "seed")
_SIZES = ("tokens", "segment_size")
_NUMBERS = ("memory_tokens", "batch_size", "accumulate", "adapter_rank", "tp", "cp")
_FLAGS = (
    "state_by_state",
    *("dropout", "checkpoint_segments", "checkpoint_layers", "cuda_graph", "compile_step"),
    "capture",
    "offload_optimizer",
)


def read_definition(path: Path) -> dict[str, Any]:
    """Reads a TOML file as a mapping.

    Raises:
        BadInput: cannot be read, or is no TOML.
    """
    return read_toml(path, f"sweep {str(path)!r}")


def make_sweep(
    definition: Mapping[str, Any],
    replaced: Mapping[str, Any] | None = None,
    device: DeviceSpec | None = None,
    processes: int = 1,
) -> Sweep:
    """Makes the sweep of a definition.

    Args:
        definition: ``grid`` (a list of mappings) or ``preset``, with ``set`` (values that replace
            those of every grid), ``protocol``, ``order`` and ``seed``.
        replaced: values from the command line; they replace all others.
        device: what is predicted for, whose usual precision is taken where none is given.
        processes: that share a point which is to be shared (``shard``, ``tp``, ``cp``).

    Raises:
        Unread: a value from the command line that no point reads.
        BadInput: a key or a value that is not known, or a point that cannot be.
    """
    _require_keys("sweep", definition, _TOP_LEVEL)
    replaced = dict(replaced or {})
    if "preset" in definition:
        name = definition["preset"]
        require_one_of("preset", name, PRESETS)
        definition = PRESETS[name] | {k: v for k, v in definition.items() if k != "preset"}
    grids = definition.get("grid")
    if not isinstance(grids, list) or not grids:
        raise BadInput("sweep without a grid: expected [[grid]] or a preset")
    asked = {k: v for k, v in replaced.items() if k in _KEYS}
    on_top = _table("set", definition) | asked
    read: set[str] = set()
    # The order of a dictionary: each point once, in the order of the definition.
    usual = {"precision": default_precision(device)}
    points = dict.fromkeys(
        point for grid in grids for point in _points(grid, usual, on_top, processes, read)
    )
    require_read(asked, read)
    protocol = _table("protocol", definition)
    protocol |= {k: v for k, v in replaced.items() if k not in _KEYS and k not in _TOP_LEVEL}
    order = replaced.get("order", definition.get("order", ORDERS[0]))
    require_one_of("order", order, ORDERS)
    seed = _whole("seed", replaced.get("seed", definition.get("seed", 0)))
    return Sweep(
        points=tuple(points), protocol=_protocol(protocol), seed=seed, order=order
    ).with_pair()


def _points(
    grid: object, usual: Grid, on_top: Grid, processes: int, read: set[str]
) -> Iterator[Point]:
    """Yields the points of a grid, and adds the keys that concern one to ``read``."""
    if not isinstance(grid, dict):
        raise BadInput("grid: expected a table")
    given = {Point.old_names.get(key, key): grid[key] for key in grid}
    values = DEFAULTS | usual | given | on_top
    _require_keys("grid", values, _KEYS)
    for key in ("model", "tokens"):
        if key not in values:
            raise BadInput(f"grid without {key}: expected one or more")
    lists = {
        key: [_value(key, item) for item in (value if isinstance(value, list) else [value])]
        for key, value in values.items()
    }
    empty = [key for key, items in lists.items() if not items]
    if empty:
        raise BadInput(f"{empty[0].replace('_', ' ')} []: expected one or more")
    count = math.prod(map(len, lists.values()))
    if count > MOST_POINTS:
        raise BadInput(f"sweep of {count} points: expected {MOST_POINTS:,} or less")
    for combination in product(*lists.values()):
        value = dict(zip(lists, combination, strict=True))
        # What is built and measured has plain weights, whatever the config says.
        model = replace(resolve_model(value["model"]), quantization=None)
        one = Combination(value, model, processes)
        point = _point(one)
        read |= {key for key in lists if concerns(key, one)}
        yield point


def _point(one: Combination) -> Point:
    """Keeps of one combination what concerns the point."""
    value, model = one.value, one.model
    require_one_of("optimizer", value["optimizer"], OPTIMIZERS)

    def kept(key: str, otherwise: Any = None) -> Any:
        return value[key] if concerns(key, one) else otherwise

    layout = _layout(value, model, one.processes)
    return Point(
        model=model,
        method=value["method"],
        tokens=value["tokens"],
        segment_size=kept("segment_size"),
        memory_tokens=kept("memory_tokens"),
        batch_size=value["batch_size"],
        mode=value["mode"],
        precision=value["precision"],
        attention=value["attention"],
        optimizer=kept("optimizer"),
        accumulate=kept("accumulate", 1),
        adapter=_adapter(value) if concerns("adapter", one) else None,
        offload_optimizer=kept("offload_optimizer", False),
        host_memory_bytes=kept("host_memory"),
        dropout=kept("dropout", False),
        bptt_segments=kept("bptt_segments"),
        checkpoint_segments=kept("checkpoint_segments", False),
        checkpoint_layers=kept("checkpoint_layers", False) and layout is None,
        logits=kept("logits", "last" if one.inferred else None),
        cuda_graph=kept("cuda_graph", False),
        capture=kept("capture", False),
        compile_step=kept("compile_step", False),
        checkpoint=value["checkpoint"] or None,
        layout=layout,
        device=value["device"],
        memory_limit_bytes=value["memory_limit"],
    )


def _layout(value: Mapping[str, Any], model: ModelSpec, processes: int) -> Layout | None:
    """The layout of a point over so many processes; None where it is not shared."""
    shard, tp, cp, states = (value[key] for key in ("shard", "tp", "cp", "state_by_state"))
    require_one_of("shard", shard, (NO_LAYOUT, *SHARDS))
    if shard == NO_LAYOUT and tp == cp == 1 and not states:
        return None
    asked = "state by state"
    for name, degree in (("cp", cp), ("tp", tp)):
        asked = f"{name} {degree}" if degree != 1 else asked
    asked = f"shard {shard!r}" if shard != NO_LAYOUT else asked
    if processes == 1:
        raise BadInput(
            f"{asked}: expected 2 processes or more, started by torchrun (--nproc_per_node 2)"
        )
    if tp < 1 or processes % tp:
        raise BadInput(f"tp {tp}: expected a divisor of the {processes} processes")
    if cp < 1 or processes // tp % cp:
        raise BadInput(f"cp {cp}: expected a divisor of the {processes // tp} processes beside tp")
    dp = processes // (tp * cp)
    if dp * cp > 1 and shard == NO_LAYOUT:
        raise BadInput(
            f"{asked}: expected a shard with it, ddp or fsdp2, for {dp * cp} "
            f"{'data ranks' if cp == 1 else 'ranks that have the same weights'}"
        )
    if dp > 1 and tp > 1 and shard != "fsdp2":
        raise BadInput(f"shard {shard!r}: expected fsdp2 with tp {tp} on {processes} processes")
    batch = value["batch_size"]
    if batch % dp:
        raise BadInput(f"batch size {batch}: expected a multiple of {dp}, the data ranks")
    by_state = states and value["method"] == "rmt"
    found = Layout(
        tp=tp,
        cp=cp,
        dp=dp,
        zero=SHARDS.get(shard, 0) if dp * cp > 1 else 0,
        micro_batch=batch // dp,
        recompute="full" if value["checkpoint_layers"] else "none",
        state_by_state=by_state,
        shard_vocabulary=tp == 1,
    )
    if cp > 1:
        require_one_of("context", value["context"], CONTEXTS)
        found = replace(found, context=value["context"])
    work = Workload(tokens=value["tokens"], batch_size=batch)
    reason = why_impossible(model, work, replace(found, state_by_state=False))
    if not reason and tp > 1 and model.kind == "gpt2":
        reason = f"tp {tp}, expected 1: the matrices of {model.name} are fused"
    if reason:
        raise BadInput(f"layout {found.name!r}: {reason}")
    return found


def _adapter(value: Mapping[str, Any]) -> Adapter | None:
    if value["adapter"] == NO_ADAPTER:
        return None
    return Adapter(value["adapter"], value["adapter_rank"], value["adapter_targets"])


def _value(key: str, value: Any) -> Any:
    """One value of a grid, checked; sizes may be written ``32k``."""
    if key in _SIZES:
        return parse_size(value if isinstance(value, str) else str(value), key.replace("_", " "))
    if key in _NUMBERS:
        return _whole(key, value)
    if key == "bptt_segments":
        return None if value == ALL_SEGMENTS else _whole(key, value)
    if key in _FLAGS:
        if not isinstance(value, bool):
            raise BadInput(f"{key.replace('_', ' ')} {value!r}: expected true or false")
        return value
    if not isinstance(value, str):
        raise BadInput(f"{key.replace('_', ' ')} {value!r}: expected a name")
    if key == "device" and value == AUTO:
        return _device_at_hand()
    if key in ("memory_limit", "host_memory"):
        return None if value == NO_LIMIT else parse_bytes(value, key.replace("_", " "))
    if key == "precision":
        return find_precision(value).name
    return value


@cache
def _device_at_hand() -> str:
    try:
        open_gpu()
    except NoGpu:
        return "cpu"
    return "cuda"


def _whole(key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInput(f"{key.replace('_', ' ')} {value!r}: expected a whole number")
    return value


def _protocol(values: Mapping[str, Any]) -> Protocol:
    _require_keys("protocol", values, [field.name for field in fields(Protocol)])
    for key, value in values.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise BadInput(f"{key.replace('_', ' ')} {value!r}: expected a number")
    return Protocol(**values)


def _table(key: str, definition: Mapping[str, Any]) -> Grid:
    value = definition.get(key, {})
    if not isinstance(value, dict):
        raise BadInput(f"{key}: expected a table")
    return dict(value)


def _require_keys(what: str, values: Mapping[str, Any], accepted: Any) -> None:
    for key in values:
        if key not in accepted:
            raise BadInput(f"{what} key {key!r}: expected {quoted_list(accepted)}")
