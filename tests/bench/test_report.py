"""How long a report takes, as a whole process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from synthetic_records import figure_10

PAGE_BYTES = 3_000_000


def test_a_thousand_records(benchmark: Any, tmp_path: Path) -> None:
    """``rmtscale report`` on 1,000 records of six settings in under 5 s, the page under 3 MB."""
    lengths = [round(500 * 1.06**step) for step in range(56)]
    settings: list[dict[str, Any]] = [
        {"dtype": dtype, "batch_size": size} for dtype in ("fp32", "bf16") for size in (1, 2, 4)
    ]
    records = [one for setting in settings for one in figure_10(lengths, **setting)]
    assert len(records) >= 1000
    path, out = tmp_path / "made.jsonl", tmp_path / "out"
    path.write_text("".join(one.to_line() + "\n" for one in records), encoding="utf-8")
    command = [sys.executable, "-m", "rmtscale", "report", str(path), "-o", str(out), "--force"]
    benchmark.pedantic(
        lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), rounds=3
    )
    assert benchmark.stats.stats.min < 5.0
    assert (out / "index.html").stat().st_size < PAGE_BYTES
