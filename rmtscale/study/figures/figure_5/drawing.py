"""Figure 5 of the paper: accuracy up to two million tokens, and the memory that it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rmtscale.report import style
from rmtscale.report.names import legend_columns
from rmtscale.study.figures.figure_5.claims import peaks_of
from rmtscale.study.figures.memory_tasks.axes import (
    SEED_COLOURS,
    SEED_MARKERS,
    TITLES,
    Points,
    accuracy_axis,
    draw_curve,
    draw_paper,
    token_axis,
)
from rmtscale.study.figures.memory_tasks.shown import Group, Reading, first
from rmtscale.study.figures.memory_tasks.summary import headline, label
from rmtscale.study.figures.memory_tasks.ways import trained_part
from rmtscale.units import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADLINE = "Right answers"
_MEMORY = "peak memory, measured"
_PAPER = "the paper's"
_TITLE_LETTERS = 9.5
"""So many letters of a panel's title stand in an inch."""
_MOST_INCHES = 11.1
"""A page shrinks what is wider, text with it."""
_LEAST_PANEL_INCHES = 2.7
"""A panel that is narrower has no room for the labels of its axes."""
_LINES = ("-", ":", "-.", "--")
"""Styles of the trainings of one seed, in the order of the page."""

Panel = tuple[Group, str, tuple[int, int]]
"""Whose panel, its task or memory, and its row and column."""


@style.styled
def draw(groups: Sequence[Group], paper: Mapping[str, Points]) -> Figure:
    """Draws a panel for each task, and one of measured memory; each group has a column.

    A panel has the first states of one recipe (``memory_tasks/shown.py``).

    Args:
        groups: one at least: kinds of backbone, LoRA and all weights apart. The panels of a single
            one stand in two columns.
        paper: its points by task, for 499 tokens a segment.
    """
    from matplotlib.figure import Figure

    alone = len(groups) == 1
    panels = _in_two_columns(groups[0]) if alone else _side_by_side(groups)
    rows, across = (1 + max(place[axis] for _, _, place in panels) for axis in (0, 1))
    wide = max(min(4.6, _MOST_INCHES / across), _LEAST_PANEL_INCHES)
    tall = [_row_inches(panels, row) for row in range(rows)]
    figure = Figure(figsize=(wide * across, 0.9 + sum(tall)))
    cells = figure.add_gridspec(rows, across, height_ratios=tall)
    found: dict[str, Any] = {}
    for group, task, (row, at) in panels:
        own_row = alone and sum(place[0] == row for _, _, place in panels) == 1
        axes = figure.add_subplot(cells[row, :] if own_row else cells[row, at])
        if task == _MEMORY:
            _memory_panel(axes, _peaks(group))
            title, below = _MEMORY, label(group.kind, _part(group))
        else:
            recipe, readings = group.drawn(task)
            title, below = TITLES[task], label("" if alone else group.kind, recipe)
            _task_panel(axes, recipe, first(readings), paper.get(task, {}))
            token_axis(axes, sorted({one for each in groups for one in _lengths(each, task)}))
            handles, labels = axes.get_legend_handles_labels()
            found |= {
                name: found.get(name, handle) for handle, name in zip(handles, labels, strict=True)
            }
        if any(place[0] == row and place[1] < at for _, name, place in panels if name != _MEMORY):
            axes.set_ylabel("")
        if not alone and any(one is group and place[0] > row for one, _, place in panels):
            axes.set_xlabel("")
        below = "" if alone and task == _MEMORY else fill(below, round(_TITLE_LETTERS * wide))
        axes.set_title(f"{title}\n{below}" if below else title)
    names = sorted(found, key=lambda name: (name == _PAPER, name))
    figure.legend(
        [found[name] for name in names],
        names,
        loc="outside lower center",
        ncols=legend_columns(names, wide * across),
        frameon=False,
        fontsize=8.5,
    )
    style.headline(figure, headline(groups, HEADLINE, paper))
    return figure


def _in_two_columns(group: Group) -> list[Panel]:
    names = _rows([group])
    return [(group, name, divmod(at, min(len(names), 2))) for at, name in enumerate(names)]


def _side_by_side(groups: Sequence[Group]) -> list[Panel]:
    """Places what is alike in one row; a task that one group lacks leaves its place empty."""
    rows = _rows(groups)
    return [
        (group, name, (row, column))
        for row, name in enumerate(rows)
        for column, group in enumerate(groups)
        if name in _rows([group])
    ]


def _rows(groups: Sequence[Group]) -> list[str]:
    """Names what is drawn of any of these, in the order of rows: tasks, then memory."""
    tasks = [task for task in TITLES if any(group.readings.get(task) for group in groups)]
    return tasks + ([_MEMORY] if any(_peaks(group) for group in groups) else [])


def _row_inches(panels: Sequence[Panel], row: int) -> float:
    """Returns the height of a row, less where all of it is memory, which is level."""
    names = {name for _, name, place in panels if place[0] == row}
    return 1.9 if names == {_MEMORY} else 2.5


def _part(group: Group) -> str:
    """Names what was trained of the backbone: LoRA, all weights, or nothing to tell apart."""
    return next(trained_part(one.record) for own in group.readings.values() for one in own)


def _peaks(group: Group) -> dict[int, int]:
    """Returns bytes by tokens of one of the trainings that are drawn."""
    drawn = {task: first(group.drawn(task)[1]) for task in group.readings}
    return peaks_of({task: {one.name: one.curve for one in own} for task, own in drawn.items()})


def _task_panel(axes: Axes, recipe: str, readings: Iterable[Reading], points: Points) -> None:
    drawn: list[int] = []
    for one in readings:
        draw_curve(
            axes,
            one.curve,
            SEED_COLOURS[one.seed % len(SEED_COLOURS)],
            marker=SEED_MARKERS[one.seed % len(SEED_MARKERS)],
            line=_LINES[drawn.count(one.seed) % len(_LINES)],
            by_tokens=True,
            label=one.short_name(recipe),
        )
        drawn.append(one.seed)
    if points:
        xs = [499 * segments for segments in points]
        draw_paper(axes, points, style.REFERENCE_COLOUR, xs, _PAPER)
    accuracy_axis(axes)


def _lengths(group: Group, task: str) -> set[int]:
    """Tokens of the inputs of a task that were read, of what is drawn."""
    if not group.readings.get(task):
        return set()
    curves = (one.curve for one in first(group.drawn(task)[1]))
    return {record.point.tokens for curve in curves for record in curve.values()}


def _memory_panel(axes: Axes, peaks: Mapping[int, int]) -> None:
    axes.plot(list(peaks), list(peaks.values()), "-o", color=style.RMT_COLOUR, markersize=3.5)
    token_axis(axes, list(peaks))
    unit = 2 ** (max(peaks.values()).bit_length() - 1)
    ticks = [0, unit // 2, unit, 3 * unit // 2, 2 * unit]
    axes.set_ylim(0, 2.1 * unit)
    axes.set_yticks(ticks, [format_bytes(tick, digits=2) for tick in ticks])
