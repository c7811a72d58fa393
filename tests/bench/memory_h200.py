"""What stands in memory while a captured training step runs? Every allocation, for a look at home.

    PYTHONPATH=. python tests/bench/memory_h200.py --traces DIR --out records.jsonl    # ~90 s
    PYTHONPATH=. python tests/bench/memory_h200.py --toy    # anywhere; no meaning

Training steps of ``fastest_h200.py`` with one checkpoint per segment, eager, captured, compiled,
state by state, and with expandable segments. A traced point leaves all that the allocator did in
``DIR``, one line for each event: what, address, bytes, stream.
"""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path
from typing import Any

from tests.bench.rmt_h200 import Bench, sizes, training

_HERE = "tests.bench.memory_h200"
_FOLDER = "MEMORY_H200_TRACES"


def watched(
    given: dict[str, Any],
    device: Any,
    *,
    trace: str | None = None,
    expandable: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """One training step of ``rmt_h200.py``, with all that the allocator did if that is wanted."""
    import torch

    memory: Any = torch.cuda.memory
    folder = os.environ.get(_FOLDER)
    traced = device.type == "cuda" and trace is not None and bool(folder)
    if device.type == "cuda" and expandable:
        memory._set_allocator_settings("expandable_segments:True")
    if traced:
        memory._record_memory_history("all", context=None, stacks="python", max_entries=2_000_000)
    found = training(given, device, "rmt", **options)
    if traced:
        events = memory._snapshot()["device_traces"][0]
        path = Path(str(folder)) / f"{trace}.txt.gz"
        with gzip.open(path, "wt") as file:
            for event in events:
                file.write(
                    f"{event['action']} {event.get('addr', 0):x} {event.get('size', 0)} "
                    f"{event.get('stream', 0):x}\n"
                )
        found["trace_events"] = len(events)
    return found


def points(given: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name of each point, and the function with its arguments."""
    checkpoints = {"checkpoint": True, "segment": given["segment"], "fused": True}
    captured = {**checkpoints, "capture": True}
    compiled = {**captured, "compile_step": True}
    by_state = {**compiled, "checkpoint": False, "state_by_state": True}
    options: dict[str, dict[str, Any]] = {
        "eager": {**checkpoints, "trace": "eager"},
        "captured": {**captured, "trace": "captured"},
        "captured, compiled": {**compiled, "trace": "compiled"},
        "captured, compiled, state by state": {**by_state, "trace": "by_state"},
        "captured, expandable": {**captured, "expandable": True},
        "captured, compiled, expandable": {**compiled, "expandable": True},
    }
    return {name: (f"{_HERE}:watched", one) for name, one in options.items()}


def ratios(rows: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """What is reserved, beside the eager step."""

    def reserved(name: str) -> float | None:
        return rows.get(name, {}).get("peak_reserved_bytes")

    eager, found = reserved("eager"), reserved("captured")
    return {"captured / eager": found / eager if found and eager else None}


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    if "--traces" in given:
        at = given.index("--traces")
        os.environ[_FOLDER] = given[at + 1]
        Path(given[at + 1]).mkdir(parents=True, exist_ok=True)
        del given[at : at + 2]
    targets = {"captured / eager": ("<=", 1.05)}
    return Bench("memory_h200/1", str(__doc__), sizes, points, ratios, targets).run(given)


if __name__ == "__main__":
    sys.exit(main())
