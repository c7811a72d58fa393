"""Iteration time against length, with the quartiles and a mark where a point failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.lines import (
    Looks,
    draw_bars,
    draw_group,
    mark_failures,
    name_lines,
    names,
    with_values,
)
from rmtscale.report.quantities import TIME
from rmtscale.report.series import Group

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@style.styled
def draw(groups: Sequence[Group], looks: Looks) -> Figure | None:
    """Draws a panel for each group; None where no time was measured."""
    groups = with_values(groups, TIME)
    if not groups:
        return None
    figure, panels = style.new_grid(len(groups))
    for (axes,), group in zip(panels, groups, strict=True):
        panel(axes, group, looks)
        axes.set_title(group.name)
    return figure


def panel(axes: Axes, group: Group, looks: Looks) -> None:
    """Draws one group on one pair of axes."""
    draw_group(axes, group, TIME, looks)
    _quartiles(axes, group, looks)
    values = [value for series in group.series for value in series.values(TIME).values()]
    style.length_axis(axes, group.lengths(), names(group))
    axes.set_ylim(min(values) / 1.6, max(values) * 2.2)
    style.seconds_axis(axes)
    mark_failures(axes, group, looks)
    name_lines(axes, group, TIME, looks)
    axes.set_ylabel("training step" if group.setting.mode == "train" else "forward pass")


def _quartiles(axes: Axes, group: Group, looks: Looks) -> None:
    """Half of the steps lie within the bar; often it is smaller than the marker."""
    assert TIME.spread is not None
    for series in group.series:
        quartiles = {record.point.tokens: TIME.spread(record) for record in series.records}
        bars = {tokens: ends for tokens, ends in quartiles.items() if ends is not None}
        draw_bars(axes, bars, looks[series.label].colour)
