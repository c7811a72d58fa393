"""Settings and course of the trainings behind a figure, as two tables that can be committed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rmtscale.readers import read_json
from rmtscale.study.training.layout import METRICS, SETTINGS
from rmtscale.study.training.metrics import Interval, read_metrics
from rmtscale.tabular import csv_text

SETTINGS_TABLE = "settings.jsonl"
"""File of what was set, a line for each training."""
EVERY = 4
"""Intervals that are in the table, beside those that were validated: the course, not the noise."""


def training_tables(runs: Path, names: Iterable[str]) -> dict[str, str]:
    """Writes down what was trained, what it began with, and how its loss went.

    Args:
        runs: folder with a folder for each training.
        names: of trainings; one that is not there is left out.

    Returns:
        Contents by file: all settings of each (``settings.jsonl``; texts and what it began with by
        name, not by path) and its intervals (``intervals.csv``).

    Raises:
        BadInput: metrics that cannot be read.
    """
    settings: dict[str, dict[str, Any]] = {}
    remaining = set(names)
    while remaining:
        name = remaining.pop()
        path = runs / name / SETTINGS
        if name in settings or not path.is_file():
            continue
        values = read_json(path, f"settings {str(path)!r}")
        values["text"] = Path(values["text"]).name
        if values["init_from"] is not None:
            values["init_from"] = Path(values["init_from"]).parent.name
            remaining.add(values["init_from"])
        settings[name] = values
    shown = [
        (name, interval)
        for name in sorted(settings)
        for number, interval in enumerate(read_metrics(runs / name / METRICS), 1)
        if number % EVERY == 0 or interval.validation
    ]
    repeats = any(interval.repeated_loss is not None for _, interval in shown)
    rows = [{"training": name} | _row(interval, repeats=repeats) for name, interval in shown]
    lines = [json.dumps({"training": name} | settings[name]) + "\n" for name in sorted(settings)]
    return {SETTINGS_TABLE: "".join(lines), "intervals.csv": csv_text(rows)}


def _row(interval: Interval, *, repeats: bool) -> dict[str, object]:
    """Returns the columns, those of repeated text only where that of any training repeats."""
    validation = interval.validation or {}
    apart = {
        "repeated_loss_nats": _loss(interval.repeated_loss),
        "ordinary_loss_nats": _loss(interval.ordinary_loss),
    }
    return {
        "step": interval.step,
        "stage": interval.stage_name,
        "loss_nats": _loss(interval.loss),
        **(apart if repeats else {}),
        "validation_loss_nats": "; ".join(
            f"{segments}: {loss:.5g}" for segments, loss in validation.items()
        ),
        "learning_rate": f"{interval.learning_rate:.4g}",
        "tokens_per_second": round(interval.tokens_per_second),
        "peak_allocated_bytes": interval.peak_allocated_bytes,
    }


def _loss(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.5g}"
