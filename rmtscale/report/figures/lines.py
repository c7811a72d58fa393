"""The common part of figures against length: a line for each series, and marks of failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.quantities import Quantity
from rmtscale.report.series import Group, Series
from rmtscale.report.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Looks = Mapping[str, Look]
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
        markerfacecolor="white" if series.method == "rmt" else look.colour,
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


def draw_group(axes: Axes, group: Group, quantity: Quantity, looks: Looks) -> None:
    """Draws every series of a group in one quantity, without axis or names."""
    for series in group.series:
        values = series.values(quantity)
        if values:
            draw_series(axes, series, values, looks[series.label])


def names(group: Group) -> list[str]:
    """Returns the words to the right of the last points."""
    outcomes = {outcome for series in group.series for outcome in series.outcomes().values()}
    return group.labels() + [words for outcome, (_, words) in MARKS.items() if outcome in outcomes]


def name_lines(axes: Axes, group: Group, quantity: Quantity, looks: Looks) -> None:
    """Draws the names of the series beside their last points; the axes must have their limits.

    A line that ended in a failure has its mark on the right, so its name stands on the left, or
    above where the line comes from there.
    """
    ends = []
    for series in group.series:
        values = series.values(quantity)
        if not values:
            continue
        last, colour = max(values), looks[series.label].colour
        if any(outcome in MARKS for outcome in series.outcomes().values()):
            beside = _rises(axes, values)
            axes.annotate(
                series.label,
                (last, values[last]),
                xytext=(-9, 0) if beside else (0, 6),
                textcoords="offset points",
                ha="right" if beside else "center",
                va="center" if beside else "bottom",
                fontsize=8,
                color=colour,
                # Other lines may pass there.
                bbox=style.OVER_LINES,
            )
        else:
            ends.append((last, values[last], series.label, colour))
    style.label_line_ends(axes, ends)


def _rises(axes: Axes, values: Mapping[int, float]) -> bool:
    """Whether a line comes to its last point from well below."""
    if len(values) < 2:
        return True
    before, last = sorted(values)[-2:]
    ends = axes.transData.transform([(before, values[before]), (last, values[last])])
    return bool(ends[1][1] - ends[0][1] > 0.5 * (ends[1][0] - ends[0][0]))


def mark_failures(axes: Axes, group: Group, looks: Looks, height: float | None = None) -> None:
    """Draws a mark where a point failed: at ``height``, or just under the top of the axes."""
    transform = axes.transData if height is not None else axes.get_xaxis_transform()
    place = 0.96 if height is None else height
    named: set[str] = set()
    for series in group.series:
        for tokens, outcome in series.outcomes().items():
            if outcome not in MARKS:
                continue
            marker, words = MARKS[outcome]
            axes.plot(
                [tokens],
                [place],
                marker,
                color=looks[series.label].colour,
                markersize=9,
                markeredgewidth=2.2,
                transform=transform,
                clip_on=False,
                gid=f"failed {series.label}",
            )
            if words not in named:
                named.add(words)
                axes.annotate(
                    words,
                    (tokens, place),
                    xycoords=transform,
                    xytext=(8, -1 if height is None else 8),
                    textcoords="offset points",
                    fontsize=8,
                    color=looks[series.label].colour,
                    va="center",
                )
