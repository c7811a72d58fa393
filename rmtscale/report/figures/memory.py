"""Peak memory against length, with the limit as a line and a mark where memory ran out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.answers import answer, headline
from rmtscale.report.figures.lines import (
    draw_panel,
    margins,
    mark_failures,
    name_lines,
)
from rmtscale.report.figures.panels import Panel, panels_of
from rmtscale.report.quantities import MEMORY
from rmtscale.report.series import Group
from rmtscale.units import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEMORY_NAMES = {
    "cuda": "peak allocated memory",
    "cpu": "peak resident memory above start",
}


@style.styled
def draw(groups: Sequence[Group]) -> Figure | None:
    """Draws the panels of each group; None where no memory was measured."""
    panels = panels_of(groups, lambda series: bool(series.values(MEMORY)))
    if not panels:
        return None
    figure, grid = style.new_grid(len(panels), height=3.9, margins=margins(panels))
    for (axes,), one in zip(grid, panels, strict=True):
        panel(axes, one)
    style.headline(figure, headline(groups, MEMORY))
    return figure


def panel(axes: Axes, one: Panel) -> None:
    """Draws one panel on one pair of axes."""
    draw_panel(axes, one, MEMORY)
    style.length_axis(axes, one.lengths())
    failures = _frame(axes, one)
    style.bytes_axis(axes)
    name_lines(axes, one, MEMORY, failures)
    axes.set_ylabel(MEMORY_NAMES[one.group.setting.device])
    style.entitle(axes, one.title, answer(one, MEMORY))


def _frame(axes: Axes, one: Panel) -> list[tuple[float, float, str, str]]:
    """The range of the axis; the limit is drawn where something comes near it."""
    values = [value for series in one.series for value in series.values(MEMORY).values()]
    low, high, limit = min(values), max(values), one.group.limit_bytes()
    failed = any(
        outcome == "oom" for series in one.series for outcome in series.outcomes().values()
    )
    if limit is None or not (failed or limit < 8 * high):
        axes.set_ylim(low / 1.4, high * 1.6)
        return mark_failures(axes, one)
    axes.set_ylim(low / 1.4, max(limit, high) * 1.6)
    axes.axhline(limit, color=style.REFERENCE_COLOUR, linewidth=1.0, linestyle=(0, (4, 2)))
    words = f"limit: {format_bytes(limit)}"
    named = mark_failures(axes, one, limit)
    last = max(one.lengths())
    return [*named, (last, limit, words, style.REFERENCE_COLOUR)]
