"""A tiny config of every model type that has a row: small enough to build and count at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TINY: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(Path(__file__).with_name("tiny").glob("*.json"))
}
"""By type, one file each: what a new row is held against."""
