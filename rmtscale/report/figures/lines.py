"""The common part of figures against length: a line for each series, and marks of failures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.panels import Panel, look_of
from rmtscale.report.names import label_line_ends, names_inches
from rmtscale.report.quantities import Quantity
from rmtscale.report.series import Group, Series
from rmtscale.report.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_MARKERS = 15
"""On one line; with more they would touch."""
MARKS = {
    "oom": ("x", "out of memory"),
    "timeout": ("+", "out of time"),
    "crashed": ("1", "crashed"),
}
"""Failures that have a mark; what was skipped was not tried and has none."""


def with_values(groups: Sequence[Group], *quantities: Quantity) -> list[Group]:
    """Groups in which at least one point has one of the numbers."""
    return [
        group
        for group in groups
        if any(series.values(quantity) for series in group.series for quantity in quantities)
    ]


def draw_series(
    axes: Axes,
    series: Series,
    values: Mapping[int, float],
    look: Look,
) -> None:
    """Draws one line with its markers; a single point is a marker alone."""
    axes.plot(
        list(values),
        list(values.values()),
        look.line,
        marker=look.marker,
        color=look.colour,
        markersize=5,
        markevery=-(-len(values) // MOST_MARKERS) or 1,
        markerfacecolor=look.face,
        gid=series.label,
    )


def draw_bars(axes: Axes, spans: Mapping[int, tuple[float, float]], colour: str) -> None:
    """Draws between which values each point lies, as bars: all one line with gaps, which is short
    in a file."""
    axes.plot(
        [place for tokens in spans for place in (tokens, tokens, nan)],
        [place for low, high in spans.values() for place in (low, high, nan)],
        "-",
        color=colour,
        linewidth=3.0,
        alpha=0.3,
        solid_capstyle="butt",
    )


def draw_panel(axes: Axes, panel: Panel, quantity: Quantity) -> None:
    """Draws every series of a panel in one quantity, without axis or names."""
    for series in panel.series:
        values = series.values(quantity)
        if values:
            draw_series(axes, series, values, look_of(series))


def names(panels: Iterable[Panel]) -> list[str]:
    """Returns the words to the right of panels."""
    return [
        words
        for panel in panels
        for words in (*panel.names.values(), *(words for _, words in MARKS.values()))
    ]


def margins(panels: Iterable[Panel]) -> style.Margins:
    """Returns the margins of panels with names beside them."""
    return style.Margins(right=names_inches(names(panels)))


def name_lines(
    axes: Axes,
    panel: Panel,
    quantity: Quantity,
    failures: Sequence[tuple[float, float, str, str]] = (),
) -> None:
    """Writes the names of the series beside the panel; the axes must have their limits.

    Args:
        failures: what else is named there, as ``mark_failures`` returns it.
    """
    ends = []
    for series in panel.series:
        values = series.values(quantity)
        if values:
            last = max(values)
            name = panel.names[series.label]
            ends.append((last, values[last], name, look_of(series).colour))
    label_line_ends(axes, [*ends, *failures])


def mark_failures(
    axes: Axes, panel: Panel, height: float | None = None
) -> list[tuple[float, float, str, str]]:
    """Draws a mark where a point failed: at ``height``, or just under the top of the axes.

    Returns:
        The names of the marks and where they are, one for each kind of failure.
    """
    if height is None:
        low, high = axes.get_ylim()
        scale = axes.yaxis.get_transform()
        ends = scale.transform([low, high])
        height = float(scale.inverted().transform([ends[0] + 0.95 * (ends[1] - ends[0])])[0])
    named: dict[str, tuple[float, float, str, str]] = {}
    for series in panel.series:
        for tokens, outcome in series.outcomes().items():
            if outcome not in MARKS:
                continue
            marker, words = MARKS[outcome]
            colour = look_of(series).colour
            axes.plot(
                [tokens],
                [height],
                marker,
                color=colour,
                markersize=9,
                markeredgewidth=2.2,
                clip_on=False,
                gid=f"failed {series.label}",
            )
            named.setdefault(words, (tokens, height, words, colour))
    return list(named.values())
