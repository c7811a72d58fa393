"""How long a report takes, as a whole process.

The limit is that of a usual machine (``yardstick.py``).
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.synthetic.records import figure_10
from tests.yardstick import counting_slowness

PAGE_BYTES = 3_000_000
SECONDS, CORES = 5.0, 2
SHARED = 2.0
"""Slowness from which on a machine is shared: memory is slower still than counting is."""


def test_a_thousand_records(benchmark: Any, tmp_path: Path) -> None:
    """``rmtscale report`` on 1,000 records of six settings in under 5 s, the page under 3 MB."""
    lengths = [round(500 * 1.06**step) for step in range(56)]
    settings: list[dict[str, Any]] = [
        {"precision": dtype, "batch_size": size} for dtype in ("fp32", "bf16") for size in (1, 2, 4)
    ]
    records = [one for setting in settings for one in figure_10(lengths, **setting)]
    assert len(records) >= 1000
    path, out = tmp_path / "made.jsonl", tmp_path / "out"
    path.write_text("".join(one.to_line() + "\n" for one in records), encoding="utf-8")
    command = [sys.executable, "-m", "rmtscale", "report", str(path), "-o", str(out), "--force"]
    busy = os.getloadavg()[0] > 0.5 * CORES
    slowness = counting_slowness()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    benchmark.pedantic(
        lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), rounds=1
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    computed = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    slowness = max(slowness, counting_slowness())
    assert computed < SECONDS * CORES * slowness
    # Where others take the cores, by load or from outside, the clock on the wall measures them.
    if not busy and slowness < SHARED:
        assert benchmark.stats.stats.min < SECONDS * slowness
    assert (out / "index.html").stat().st_size < PAGE_BYTES
