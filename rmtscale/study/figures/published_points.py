"""The points of the published figures, each file in the package of the figures that show it."""

from __future__ import annotations

import csv
import io
from importlib.resources import files


def published_rows(package: str, file: str = "published.csv") -> list[dict[str, str]]:
    """Reads the paper's points that lie in a package such as ``figure_2``; one row by column."""
    source = files(f"rmtscale.study.figures.{package}") / file
    return list(csv.DictReader(io.StringIO(source.read_text(encoding="utf-8"))))
