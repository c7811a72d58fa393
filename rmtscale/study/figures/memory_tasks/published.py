"""The paper's accuracies on the memory tasks, under the names that the tasks have here."""

from __future__ import annotations

from collections.abc import Sequence

from rmtscale.study.figures.memory_tasks.axes import Points
from rmtscale.study.figures.published_points import published_rows

_TASK_NAMES = {
    "memorization": "memorize",
    "memorize": "memorize",
    "detect&memorize": "detect-memorize",
    "reasoning": "reasoning",
}


def paper_points(package: str, columns: Sequence[str]) -> dict[tuple[str, ...], Points]:
    """Reads the accuracies of a published figure, as shares, by task and the other columns.

    Args:
        package: of the figure.
        columns: what tells its curves apart; the last is the number of segments read.
    """
    curves: dict[tuple[str, ...], dict[int, float]] = {}
    for row in published_rows(package):
        key = (_TASK_NAMES[row["task"]], *(row[column] for column in columns[:-1]))
        share = round(float(row["accuracy_pct"]) / 100, 6)
        curves.setdefault(key, {})[int(row[columns[-1]])] = share
    return dict(curves)
