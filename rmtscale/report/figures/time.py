"""Iteration time against length, with the quartiles and a mark where a point failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.answers import answer, headline
from rmtscale.report.figures.lines import (
    draw_bars,
    draw_panel,
    margins,
    mark_failures,
    name_lines,
)
from rmtscale.report.figures.panels import Panel, look_of, panels_of
from rmtscale.report.quantities import TIME
from rmtscale.report.series import Group

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@style.styled
def draw(groups: Sequence[Group]) -> Figure | None:
    """Draws the panels of each group; None where no time was measured."""
    panels = panels_of(groups, lambda series: bool(series.values(TIME)))
    if not panels:
        return None
    figure, grid = style.new_grid(len(panels), height=3.9, margins=margins(panels))
    for (axes,), one in zip(grid, panels, strict=True):
        panel(axes, one)
    style.headline(figure, headline(groups, TIME))
    return figure


def panel(axes: Axes, one: Panel) -> None:
    """Draws one panel on one pair of axes."""
    draw_panel(axes, one, TIME)
    _quartiles(axes, one)
    values = [value for series in one.series for value in series.values(TIME).values()]
    style.length_axis(axes, one.lengths())
    axes.set_ylim(min(values) / 1.6, max(values) * 2.2)
    style.seconds_axis(axes)
    name_lines(axes, one, TIME, mark_failures(axes, one))
    axes.set_ylabel("training step" if one.group.setting.mode == "train" else "forward pass")
    style.entitle(axes, one.title, answer(one, TIME))


def _quartiles(axes: Axes, one: Panel) -> None:
    """Half of the steps lie within the bar; often it is smaller than the marker."""
    assert TIME.spread is not None
    for series in one.series:
        quartiles = {record.point.tokens: TIME.spread(record) for record in series.records}
        bars = {tokens: ends for tokens, ends in quartiles.items() if ends is not None}
        draw_bars(axes, bars, look_of(series).colour)
