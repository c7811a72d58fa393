"""The points of the published figures, as they lie beside the experiments."""

from __future__ import annotations

import csv
import io
from importlib.resources import files


def published_rows(name: str) -> list[dict[str, str]]:
    """The rows of one file of ``reference/``, by column."""
    source = files("rmtscale.experiments") / "reference" / name
    return list(csv.DictReader(io.StringIO(source.read_text(encoding="utf-8"))))
