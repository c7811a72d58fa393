"""Accuracy up to two million tokens, with a dead band on the memory and without."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
from rmtscale.study.figures.memory_tasks.ways import by_recipe
from rmtscale.study.records.evaluation import EvaluationRecord

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


@style.styled
def draw(kinds: Mapping[str, Comparisons]) -> Figure:
    """A panel for each task: a solid line with the dead band, a broken one without.

    Args:
        kinds: by kind of backbone; each has a row of panels.
    """
    from matplotlib.figure import Figure

    rows, across = len(kinds), max(len(ours) for ours in kinds.values())
    figure = Figure(figsize=(3.6 * across, 0.5 + 3.4 * rows))
    panels = figure.subplots(rows, across, squeeze=False)
    for row, (kind, ours) in zip(panels, kinds.items(), strict=True):
        for axes, (task, pairs) in zip(row, ours.items(), strict=False):
            _task_panel(axes, pairs.values())
            seeds = len({pair.seed for pair in pairs.values()})
            title = f"{TITLES[task]}, {f'{seeds} seeds' if seeds > 1 else '1 seed'}"
            axes.set_title(f"{title}\n{kind}" if rows > 1 and kind != NOT_NOTED else title)
            if axes is not row[0]:
                axes.set_ylabel("")
        for axes in row[len(ours) :]:
            axes.remove()
    corner = panels[0, 0]
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
    """Names seeds, those of each recipe apart, and says of a later state that ends apart from its
    first one that it is one: ``seeds 0, 2 (later)``."""
    names = []
    for way, own in by_recipe(group, lambda record: record).items():
        numbers = {one.trained_seed: "" for one in own if one.point.weights not in later}
        for one in own:
            numbers.setdefault(one.trained_seed, " (later)")
        listed = ", ".join(f"{seed}{state}" for seed, state in sorted(numbers.items()))
        seeds = f"seed{'s' if len(numbers) > 1 else ''} {listed}"
        names.append(f"{seeds}, {way}" if way else seeds)
    return "; ".join(names)


def _headline(kinds: Mapping[str, Comparisons]) -> str:
    """Says what the dead band changes on the longest input, by kind of backbone and task."""
    said = {kind: shares for kind, ours in kinds.items() if (shares := _shares(ours))}
    text = ". ".join(
        f"{capital(kind)}: {shares}" if len(said) > 1 and kind != NOT_NOTED else shares
        for kind, shares in said.items()
    )
    return f"With a dead band, right at the longest input (without): {text}"


def _shares(ours: Comparisons) -> str:
    said = []
    every = [(task, *one) for task, pairs in ours.items() for one in of_each_recipe(pairs).items()]
    for task, way, pairs in every:
        states = first(pairs)
        shared = set.intersection(*(set(pair.shared()) for pair in states)) if states else set()
        if shared:
            longest = max(shared)
            held = right_share(pair.held[longest] for pair in states)
            plain = right_share(pair.plain[longest] for pair in states)
            said.append(f"{TITLES[task]}{f', {way},' if way else ''} {held} ({plain})")
    return ", ".join(said)
