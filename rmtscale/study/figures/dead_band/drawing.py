"""Accuracy up to two million tokens, with a dead band on the memory and without."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.names import label_line_ends
from rmtscale.study.figures.dead_band.comparisons import (
    Comparison,
    Comparisons,
    first,
    of_each_recipe,
)
from rmtscale.study.figures.memory_tasks.axes import (
    TITLES,
    accuracy_axis,
    draw_curve,
    right_share,
    token_axis,
)
from rmtscale.study.figures.memory_tasks.backbones import NOT_NOTED, capital
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.units import format_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
def draw(kinds: Mapping[str, Comparisons]) -> Figure:
    """A panel for each recipe of a task: a solid line with the dead band, a broken one without.

    Args:
        kinds: by kind of backbone; each has rows of panels.
    """
    from matplotlib.figure import Figure

    panels = _panels(kinds)
    rows, across = (1 + max(panel.place[axis] for panel in panels) for axis in (0, 1))
    figure = Figure(figsize=(_PANEL_WIDTH * across, 0.5 + 3.4 * rows))
    cells = figure.add_gridspec(rows, across)
    for panel in panels:
        row, column = panel.place
        axes = figure.add_subplot(cells[row, column])
        _task_panel(axes, panel.pairs)
        seeds = len({pair.seed for pair in panel.pairs})
        title = f"{TITLES[panel.task]}, {f'{seeds} seeds' if seeds > 1 else '1 seed'}"
        kind = panel.kind if len(kinds) > 1 else NOT_NOTED
        below = fill(", ".join(filter(None, (kind, panel.way))), _TITLE_LETTERS)
        axes.set_title(f"{title}\n{below}" if below else title)
        if column > min(one.place[1] for one in panels if one.place[0] == row):
            axes.set_ylabel("")
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
    style.headline(figure, _headline(kinds))
    return figure


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    kind: str
    task: str
    way: str
    pairs: Sequence[Comparison]
    place: tuple[int, int]
    """Its row and column."""


def _panels(kinds: Mapping[str, Comparisons]) -> list[_Panel]:
    """Places a panel for each recipe: tasks side by side, further recipes of a task below it."""
    panels: list[_Panel] = []
    for kind, ours in kinds.items():
        above = 1 + max((panel.place[0] for panel in panels), default=-1)
        panels += [
            _Panel(kind=kind, task=task, way=way, pairs=own, place=(row, column))
            for column, (task, pairs) in enumerate(ours.items())
            for row, (way, own) in enumerate(of_each_recipe(pairs).items(), above)
        ]
    return panels


def _task_panel(axes: Axes, pairs: Collection[Comparison]) -> None:
    lengths: set[int] = set()
    for pair in pairs:
        for (way, colour, line, marker), curve in zip(_WAYS, (pair.plain, pair.held), strict=True):
            if curve:
                draw_curve(axes, curve, colour, marker=marker, line=line, by_tokens=True, name=way)
                lengths |= {record.point.tokens for record in curve.values()}
    token_axis(axes, sorted(lengths))
    accuracy_axis(axes)
    label_line_ends(axes, _apart(pairs), panel_inches=_PANEL_INCHES)


def _apart(pairs: Collection[Comparison]) -> list[tuple[float, float, str, str]]:
    """The ends of lines to be named by their seed: in each way those that end apart."""
    found: list[tuple[float, float, str, str]] = []
    later = {pair.record.point.weights for pair in pairs if "" not in pair.claimed}
    for (_, colour, _, _), curves in zip(
        _WAYS,
        ([pair.plain for pair in pairs], [pair.held for pair in pairs]),
        strict=True,
    ):
        ends = [curve[max(curve)] for curve in curves if curve]
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


def _headline(kinds: Mapping[str, Comparisons]) -> str:
    """Says what the dead band changes on the longest input, by kind of backbone and task."""
    said = {kind: shares for kind, ours in kinds.items() if (shares := _shares(ours))}
    text = ". ".join(
        f"{capital(kind)}: {shares}" if len(said) > 1 and kind != NOT_NOTED else shares
        for kind, shares in said.items()
    )
    return f"With a dead band, right at the longest input (without): {text}"


def _shares(ours: Comparisons) -> str:
    read = []
    for task, pairs in ours.items():
        for way, own in of_each_recipe(pairs).items():
            states = first(own)
            shared = set.intersection(*(set(pair.shared()) for pair in states)) if states else set()
            if shared:
                read.append((f"{TITLES[task]}{f', {way},' if way else ''}", states, max(shared)))
    longest = max((at for _, _, at in read), default=0)
    said = []
    for name, states, at in read:
        held = right_share(pair.held[at] for pair in states)
        plain = right_share(pair.plain[at] for pair in states)
        tokens = format_count(states[0].held[at].point.tokens, digits=3)
        said.append(f"{name} {held} ({plain}){'' if at == longest else f' after {tokens}'}")
    return ", ".join(said)
