"""Figure 4 of the paper: accuracy by segments read, for models trained on few and many segments."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.panels import MOST_SERIES
from rmtscale.study.figures.figure_4.claims import of_way
from rmtscale.study.figures.memory_tasks.axes import (
    TITLES,
    Curve,
    Points,
    accuracy_axis,
    draw_curve,
    draw_paper,
    right_share,
    segment_axis,
)
from rmtscale.study.figures.trained import trained_look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@style.styled
def draw(
    kinds: Mapping[str, Mapping[str, Mapping[int, Curve]]],
    paper: Mapping[str, Mapping[int, Points]],
) -> Figure:
    """Draws a column for each task: ours above, one kind of backbone after the other, the paper's
    below.

    Args:
        kinds: by kind of backbone, task and trained segments.
        paper: by task and trained segments; empty where it has no counterpart (the toy size).
    """
    from matplotlib.figure import Figure

    tasks = [task for task in TITLES if any(task in ours for ours in kinds.values())]
    every = [curves for ours in kinds.values() for curves in ours.values()]
    trainings = sorted({trained for curves in every for trained in curves})
    counts = sorted({count for curves in every for curve in curves.values() for count in curve})
    halves = [trainings]
    if len(trainings) > MOST_SERIES:
        middle = -(-len(trainings) // 2)
        halves = [trainings[:middle], trainings[middle:]]
    rows: list[tuple[str | None, list[int]]] = [(kind, half) for kind in kinds for half in halves]
    rows += [(None, half) for half in halves] if any(paper.values()) else []
    figure = Figure(figsize=(3.6 * len(tasks), 1.0 + 2.3 * len(rows)))
    grid = figure.subplots(len(rows), len(tasks), squeeze=False, sharey=True)
    for column, task in enumerate(tasks):
        for row, (kind, half) in enumerate(rows):
            axes = grid[row][column]
            if kind is None:
                _papers(axes, paper.get(task, {}), half)
            else:
                _ours(axes, kinds[kind].get(task, {}), half)
            accuracy_axis(axes)
            segment_axis(axes, counts)
            title = _title(task, kind, several=len(kinds) > 1)
            way = "" if kind is None else of_way(kinds[kind], task).removeprefix(", ")
            axes.set_title(f"{title}\n{fill(way, 34)}" if way else title)
            if not axes.lines[1:]:
                axes.text(0.5, 0.5, "no run yet", ha="center", transform=axes.transAxes)
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
    said = [
        _headline(ours, f", {kind}" if len(kinds) > 1 and kind else "")
        for kind, ours in kinds.items()
    ]
    style.headline(figure, ". ".join(said))
    return figure


def _title(task: str, kind: str | None, *, several: bool) -> str:
    if kind is None:
        return f"{TITLES[task]}, the paper"
    return f"{TITLES[task]}\n{kind}" if several and kind else TITLES[task]


def _headline(ours: Mapping[str, Mapping[int, Curve]], whose: str) -> str:
    """Says what the longest training reaches on the longest input it read, and the shortest."""
    trainings = {trained for curves in ours.values() for trained, curve in curves.items() if curve}
    most = max(trainings)
    longest = max(count for curves in ours.values() for count in curves.get(most, {}))
    ends = {
        trained: [
            curves[trained][longest]
            for curves in ours.values()
            if longest in curves.get(trained, {})
        ]
        for trained in (most, min(trainings))
    }
    said = [f"{right_share(some)} trained on {trained}" for trained, some in ends.items() if some]
    return f"Right answers after {longest} segments{whose}: {', '.join(said)}"


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
