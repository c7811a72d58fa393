"""The points of the published figures, each beside the figure that shows it."""

from __future__ import annotations

import csv
import io
from importlib.resources import files


def published_rows(name: str) -> list[dict[str, str]]:
    """The rows of one file, such as ``figure_2/published.csv``, by column."""
    source = files("rmtscale.study.figures") / name
    return list(csv.DictReader(io.StringIO(source.read_text(encoding="utf-8"))))
