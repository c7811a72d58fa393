"""Accuracy up to two million tokens, with a dead band on the memory and without."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.names import label_line_ends
from rmtscale.study.figures.memory_tasks.axes import (
    TITLES,
    accuracy_axis,
    draw_curve,
    token_axis,
)
from rmtscale.study.figures.memory_tasks.shown import Group, Reading
from rmtscale.study.figures.memory_tasks.summary import headline, label
from rmtscale.study.records.evaluation import EvaluationRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADLINE = "Right with a dead band (plain)"
_WAYS = (
    ("plain", style.REFERENCE_COLOUR, "--", "o"),
    ("with a dead band", style.RMT_COLOUR, "-", "s"),
)
"""Name, colour, line and marker; the seeds of one way look alike."""
_ALIKE = 4.0
"""Points of accuracy: seeds whose lines end closer than this share a name."""
_PANEL_INCHES = 2.3
_PANEL_WIDTH = 3.6
"""Inches of a panel with its labels and the names of its lines."""
_TITLE_LETTERS = 34
"""So many letters of a panel's title stand above it."""


@style.styled
def draw(groups: Sequence[Group]) -> Figure:
    """Draws a row of panels for each kind of backbone, and a column for each task.

    A panel has one recipe (``memory_tasks/shown.py``): a solid line with the dead band for each of
    its trainings, and a broken one without.
    """
    from matplotlib.figure import Figure

    tasks = [task for task in TITLES if any(group.readings.get(task) for group in groups)]
    figure = Figure(figsize=(_PANEL_WIDTH * len(tasks), 0.8 + 3.2 * len(groups)))
    cells = figure.add_gridspec(len(groups), len(tasks))
    for row, group in enumerate(groups):
        named = False
        for column, task in enumerate(tasks):
            if not group.readings.get(task):
                continue
            recipe, readings = group.drawn(task)
            axes = figure.add_subplot(cells[row, column])
            _task_panel(axes, readings)
            seeds = len({one.seed for one in readings})
            title = f"{TITLES[task]}, {f'{seeds} seeds' if seeds > 1 else '1 seed'}"
            below = fill(label(group.kind if len(groups) > 1 else "", recipe), _TITLE_LETTERS)
            axes.set_title(f"{title}\n{below}" if below else title)
            if named:
                axes.set_ylabel("")
            named = True
    corner = figure.axes[0]
    for way, colour, line, marker in _WAYS:
        corner.plot([], [], line, marker=marker, markersize=3.5, color=colour, label=way)
    figure.legend(
        *corner.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=8.5,
    )
    style.headline(figure, headline(groups, HEADLINE))
    return figure


def _task_panel(axes: Axes, readings: Collection[Reading]) -> None:
    lengths: set[int] = set()
    for one in readings:
        for (way, colour, line, marker), curve in zip(_WAYS, (one.plain, one.curve), strict=True):
            if curve:
                draw_curve(axes, curve, colour, marker=marker, line=line, by_tokens=True, name=way)
                lengths |= {record.point.tokens for record in curve.values()}
    token_axis(axes, sorted(lengths))
    accuracy_axis(axes)
    label_line_ends(axes, _apart(readings), panel_inches=_PANEL_INCHES)


def _apart(readings: Collection[Reading]) -> list[tuple[float, float, str, str]]:
    """The ends of lines to be named by their seed: in each way those that end apart."""
    found: list[tuple[float, float, str, str]] = []
    later = {one.record.point.weights for one in readings if "" not in one.claimed}
    plain = [one.plain for one in readings if one.plain]
    for (_, colour, _, _), curves in zip(
        _WAYS, (plain, [one.curve for one in readings]), strict=True
    ):
        ends = [curve[max(curve)] for curve in curves]
        groups: list[list[EvaluationRecord]] = []
        for end in sorted(ends, key=lambda end: end.accuracy):
            if groups and 100 * (end.accuracy - groups[-1][-1].accuracy) < _ALIKE:
                groups[-1].append(end)
            else:
                groups.append([end])
        if len(groups) > 1:
            found += [
                (group[0].point.tokens, 100 * group[0].accuracy, _seeds(group, later), colour)
                for group in groups
            ]
    return found


def _seeds(group: Sequence[EvaluationRecord], later: Collection[str]) -> str:
    """Names seeds, and says of a later state that ends apart from its first one that it is one:
    ``seeds 0, 2 (later)``."""
    numbers = {one.trained_seed: "" for one in group if one.point.weights not in later}
    for one in group:
        numbers.setdefault(one.trained_seed, " (later)")
    listed = ", ".join(f"{seed}{state}" for seed, state in sorted(numbers.items()))
    return f"seed{'s' if len(numbers) > 1 else ''} {listed}"
