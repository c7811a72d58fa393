"""Figure 5 of the paper: accuracy up to two million tokens, and the memory that it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rmtscale.report import style
from rmtscale.report.names import legend_columns
from rmtscale.study.figures.memory_tasks.axes import (
    SEED_COLOURS,
    SEED_MARKERS,
    TITLES,
    Curve,
    Points,
    accuracy_axis,
    draw_curve,
    draw_paper,
    right_share,
    token_axis,
)
from rmtscale.study.figures.memory_tasks.backbones import capital, run_name
from rmtscale.study.figures.memory_tasks.ways import trained_way
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.units import format_bytes, format_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MEMORY = "peak memory, measured"
_PAPER = "the paper's"
_TITLE_LETTERS = 9.5
"""So many letters of a panel's title stand in an inch."""
_MOST_INCHES = 11.1
"""A page shrinks what is wider, text with it."""
_MOST_ACROSS = 4
"""In so many columns labels of axes have room beside one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Holds what is drawn of one kind of backbone."""

    kind: str
    """Its name; empty where that was not noted."""
    ours: Mapping[str, Mapping[str, Curve]]
    """Curves by task and training."""
    paper: Mapping[str, Points]
    """The paper's points by task; its tokens are 499 a segment."""
    peaks: Mapping[int, int]
    """Bytes by tokens, of one run."""


@style.styled
def draw(columns: Sequence[Column]) -> Figure:
    """Draws a panel for each task, and one of measured memory; each kind of backbone has a column.

    Args:
        columns: one at least. The panels of a single one stand in two columns, and what has no room
            beside the others below them.
    """
    from matplotlib.figure import Figure

    panels = _side_by_side(columns) if len(columns) > 1 else _in_two_columns(columns[0])
    rows, across = (1 + max(place[axis] for _, _, place in panels) for axis in (0, 1))
    wide = min(4.6, _MOST_INCHES / across)
    figure = Figure(figsize=(wide * across, 0.9 + (2.6 + 0.15 * (len(columns) > 1)) * rows))
    cells = figure.add_gridspec(rows, across)
    found: dict[str, Any] = {}
    for column, task, (row, at) in panels:
        alone = sum(place[0] == row for _, _, place in panels) == 1 and len(columns) == 1
        axes = figure.add_subplot(cells[row, :] if alone else cells[row, at])
        title = TITLES.get(task, _MEMORY)
        if task == _MEMORY:
            _memory_panel(axes, column.peaks)
        else:
            _task_panel(axes, column.ours[task], column.paper.get(task, {}))
            token_axis(axes, sorted({one for each in columns for one in _lengths(each, task)}))
            if at > min(
                place[1] for _, name, place in panels if place[0] == row and name != _MEMORY
            ):
                axes.set_ylabel("")
            handles, labels = axes.get_legend_handles_labels()
            found |= {
                label: found.get(label, handle)
                for handle, label in zip(handles, labels, strict=True)
            }
        kind = fill(column.kind, round(_TITLE_LETTERS * wide)) if len(columns) > 1 else ""
        axes.set_title(f"{title}\n{kind}" if kind else title)
    names = sorted(found, key=lambda label: (label == _PAPER, label))
    figure.legend(
        [found[name] for name in names],
        names,
        loc="outside lower center",
        ncols=legend_columns(names, wide * across),
        frameon=False,
        fontsize=8.5,
    )
    style.headline(figure, _headline(columns))
    return figure


Panel = tuple[Column, str, tuple[int, int]]
"""Whose panel, its task or memory, and its row and column."""


def _in_two_columns(column: Column) -> list[Panel]:
    names = [*column.ours, *([_MEMORY] if column.peaks else [])]
    return [(column, name, divmod(at, min(len(names), 2))) for at, name in enumerate(names)]


def _side_by_side(columns: Sequence[Column]) -> list[Panel]:
    """Places what is alike in one row; a task that one kind lacks leaves its place empty.

    More columns than there is room for stand in blocks of as many, one below the other. Below the
    first block each column has its own rows, so that columns of few tasks leave no gaps.
    """
    blocks = ceil(len(columns) / _MOST_ACROSS)
    across = ceil(len(columns) / blocks)
    panels: list[Panel] = []
    above = 0
    for start in range(0, len(columns), across):
        block = columns[start : start + across]
        alike = _rows(block)
        for at, column in enumerate(block):
            own = _rows([column])
            panels += [
                (column, name, (above + (row if start else alike.index(name)), at))
                for row, name in enumerate(own)
            ]
        above = 1 + max(place[0] for _, _, place in panels)
    return sorted(panels, key=lambda panel: panel[2])


def _rows(columns: Sequence[Column]) -> list[str]:
    """Names what is drawn of any of these, in the order of rows: tasks, then memory."""
    tasks = [task for task in TITLES if any(task in column.ours for column in columns)]
    return tasks + ([_MEMORY] if any(column.peaks for column in columns) else [])


def _task_panel(axes: Axes, curves: Mapping[str, Curve], points: Points) -> None:
    for name, curve in curves.items():
        first = next(iter(curve.values()))
        seed = first.trained_seed
        draw_curve(
            axes,
            curve,
            SEED_COLOURS[seed % len(SEED_COLOURS)],
            marker=SEED_MARKERS[seed % len(SEED_MARKERS)],
            line=_line(name, first),
            by_tokens=True,
            label=name,
        )
    if points:
        xs = [499 * segments for segments in points]
        draw_paper(axes, points, style.REFERENCE_COLOUR, xs, _PAPER)
    accuracy_axis(axes)


def _line(name: str, record: EvaluationRecord) -> str:
    """Returns the style of a curve: LoRA and all weights differ, and so do two of one seed."""
    if name != run_name(record):
        return ":"
    return "-." if trained_way(record) else "-"


def _lengths(column: Column, task: str) -> set[int]:
    """Tokens of the inputs of a task that were read."""
    curves = column.ours.get(task, {}).values()
    return {record.point.tokens for curve in curves for record in curve.values()}


def _ends(curves: Mapping[str, Curve]) -> list[EvaluationRecord]:
    """Returns the records at the longest length that any training of a task was read at."""
    longest = max(count for curve in curves.values() for count in curve)
    return [curve[longest] for curve in curves.values() if longest in curve]


def _headline(columns: Sequence[Column]) -> str:
    """Says what is right at the longest input, by kind of backbone and task."""
    said, before = list[str](), ""
    for column in columns:
        last = {task: _ends(curves) for task, curves in column.ours.items() if any(curves.values())}
        longest = max(ends[0].point.tokens for ends in last.values())
        shares = []
        for task, ends in last.items():
            tokens = ends[0].point.tokens
            after = "" if tokens == longest else f" after {format_count(tokens, digits=3)}"
            shares.append(f"{TITLES[task]} {right_share(ends)}{after}")
        whose = column.kind if len(columns) > 1 else ""
        read = f"after {format_count(longest, digits=3)} tokens"
        words = [*([read] if read != before or not whose else []), *([whose] if whose else [])]
        of_what = ", ".join(words) if said else f"right answers {', '.join(words)}"
        said.append(f"{capital(of_what)}: {', '.join(shares)}")
        before = read
    return ". ".join(said)


def _memory_panel(axes: Axes, peaks: Mapping[int, int]) -> None:
    axes.plot(list(peaks), list(peaks.values()), "-o", color=style.RMT_COLOUR, markersize=3.5)
    token_axis(axes, list(peaks))
    unit = 2 ** (max(peaks.values()).bit_length() - 1)
    ticks = [0, unit // 2, unit, 3 * unit // 2, 2 * unit]
    axes.set_ylim(0, 2.1 * unit)
    axes.set_yticks(ticks, [format_bytes(tick, digits=2) for tick in ticks])
