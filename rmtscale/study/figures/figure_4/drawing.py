"""Figure 4 of the paper: accuracy by segments read, for models trained on few and many segments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.study.figures.memory_tasks.axes import (
    TITLES,
    Curve,
    Points,
    accuracy_axis,
    draw_curve,
    draw_paper,
    segment_axis,
)
from rmtscale.study.figures.trained import trained_legend, trained_look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.styled
def draw(
    ours: Mapping[str, Mapping[int, Curve]], paper: Mapping[str, Mapping[int, Points]]
) -> Figure:
    """Draws a column for each task: ours above, the paper's below.

    Args:
        ours: by task and trained segments.
        paper: the same; may be empty (the toy size has no counterpart there).
    """
    from matplotlib.figure import Figure

    rows = 2 if any(paper.values()) else 1
    figure = Figure(figsize=(3.8 * len(ours), 0.6 + 3.0 * rows))
    grid = figure.subplots(rows, len(ours), squeeze=False, sharey=True)
    for column, (task, curves) in enumerate(ours.items()):
        axes = grid[0][column]
        for trained, curve in curves.items():
            look = trained_look(trained)
            draw_curve(axes, curve, look.colour, marker=look.marker, label=str(trained))
        counts = sorted({count for curve in curves.values() for count in curve})
        accuracy_axis(axes)
        segment_axis(axes, counts)
        axes.set_title(TITLES[task])
        if rows == 2:
            below = grid[1][column]
            for trained, points in paper.get(task, {}).items():
                draw_paper(below, points, trained_look(trained).colour, list(points), None)
            accuracy_axis(below)
            segment_axis(below, counts)
            below.set_title("the paper's")
        if column:
            for row in range(rows):
                grid[row][column].set_ylabel("")
    # Of the task with the most models: one that was cut short has fewer.
    most = max(range(len(ours)), key=lambda at: len(list(ours.values())[at]))
    trained_legend(figure, grid[0][most])
    return figure
