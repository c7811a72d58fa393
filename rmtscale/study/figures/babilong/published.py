"""Table 4 of Kuratov et al. 2024: accuracies of five systems by task and length, as published."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cache

from rmtscale.study.figures.published_points import published_rows

SYSTEMS = {
    "rmt": "RMT 137M, fine-tuned (the authors')",
    "armt": "ARMT 137M, fine-tuned (memory in every layer)",
    "mamba": "Mamba 130M, fine-tuned",
    "gemini": "Gemini 1.5 Pro",
    "llama-rag": "Llama-3 8B with retrieval",
}
"""Titles, in the order they are shown."""
SHORT = {
    "rmt": "RMT",
    "armt": "ARMT",
    "mamba": "Mamba",
    "gemini": "Gemini",
    "llama-rag": "Llama-3",
}
"""Headings of their columns."""
ROUNDED = 0.005
"""The most that a published accuracy, a whole percent, can differ from what was found."""
Shares = Mapping[str, Fraction]
"""Accuracies, as exact shares, by name of the length."""


@cache
def published() -> dict[str, dict[str, Shares]]:
    """Reads the table: accuracies by system and task."""
    found: dict[str, dict[str, dict[str, Fraction]]] = {name: {} for name in SYSTEMS}
    for row in published_rows("babilong"):
        share = Fraction(row["accuracy_pct"]) / 100
        found[row["system"]].setdefault(row["task"], {})[row["length"]] = share
    return {name: dict(tasks) for name, tasks in found.items()}


def average(tasks: Mapping[str, Shares]) -> dict[str, Fraction]:
    """Averages exactly over the five tasks, at the lengths that all of them have."""
    lengths = set.intersection(*(set(own) for own in tasks.values()))
    return {
        length: sum((own[length] for own in tasks.values()), Fraction()) / len(tasks)
        for length in next(iter(tasks.values()))
        if length in lengths
    }
