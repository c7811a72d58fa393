"""Figure 4 of the paper: accuracy by segments read, for models trained on few and many segments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.panels import MOST_SERIES
from rmtscale.study.figures.memory_tasks.axes import (
    TITLES,
    Curve,
    Points,
    accuracy_axis,
    draw_curve,
    draw_paper,
    segment_axis,
)
from rmtscale.study.figures.trained import trained_look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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

    trainings = sorted({trained for curves in ours.values() for trained in curves})
    halves = [trainings]
    if len(trainings) > MOST_SERIES:
        middle = -(-len(trainings) // 2)
        halves = [trainings[:middle], trainings[middle:]]
    rows = [(False, half) for half in halves]
    rows += [(True, half) for half in halves] if any(paper.values()) else []
    figure = Figure(figsize=(3.6 * len(ours), 1.0 + 2.3 * len(rows)))
    grid = figure.subplots(len(rows), len(ours), squeeze=False, sharey=True)
    for column, (task, curves) in enumerate(ours.items()):
        for row, (published, half) in enumerate(rows):
            axes = grid[row][column]
            if published:
                _papers(axes, paper.get(task, {}), half)
            else:
                _ours(axes, curves, half)
            accuracy_axis(axes)
            segment_axis(axes, sorted({count for curve in curves.values() for count in curve}))
            axes.set_title(f"{TITLES[task]}{', the paper' if published else ''}")
            spread = f"{half[0]} to {half[-1]}" if len(half) > 1 else str(half[0])
            axes.set_ylabel("" if column else f"accuracy, %\ntrained on {spread}")
            if row < len(rows) - 1:
                axes.set_xlabel("")
    handles = {
        label: handle
        for line in grid
        for axes in line
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        [handles[str(trained)] for trained in trainings],
        [f"trained on {trained}" for trained in trainings],
        loc="outside lower center",
        ncols=len(trainings),
        frameon=False,
        fontsize=8.5,
    )
    style.headline(figure, _headline(ours, trainings))
    return figure


def _headline(ours: Mapping[str, Mapping[int, Curve]], trainings: list[int]) -> str:
    """Says what the longest training reaches on the longest input, and the shortest."""
    ends = {
        trained: [
            100 * curves[trained][max(curves[trained])].accuracy
            for curves in ours.values()
            if curves.get(trained)
        ]
        for trained in (trainings[-1], trainings[0])
    }
    longest = max(count for curves in ours.values() for curve in curves.values() for count in curve)
    said = [
        f"trained on {trained} {min(some):.0f} % to {max(some):.0f} %"
        for trained, some in ends.items()
        if some
    ]
    return f"Right answers after {longest} segments: {', '.join(said)}"


def _ours(axes: Axes, curves: Mapping[int, Curve], half: list[int]) -> None:
    for trained in half:
        if trained in curves:
            look = trained_look(trained)
            draw_curve(axes, curves[trained], look.colour, marker=look.marker, label=str(trained))


def _papers(axes: Axes, points: Mapping[int, Points], half: list[int]) -> None:
    for trained in half:
        if trained in points:
            look, name = trained_look(trained), f"the paper's, trained on {trained}"
            xs = list(points[trained])
            draw_paper(axes, points[trained], look.colour, xs, None, marker=look.marker, name=name)
