"""Peak memory against length, with the limit as a line and a mark where memory ran out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.lines import (
    Looks,
    draw_group,
    mark_failures,
    name_lines,
    names,
    with_values,
)
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
def draw(groups: Sequence[Group], looks: Looks) -> Figure | None:
    """Draws a panel for each group; None where no memory was measured."""
    groups = with_values(groups, MEMORY)
    if not groups:
        return None
    figure, panels = style.new_grid(len(groups))
    for (axes,), group in zip(panels, groups, strict=True):
        panel(axes, group, looks)
        axes.set_title(group.name)
    return figure


def panel(axes: Axes, group: Group, looks: Looks) -> None:
    """Draws one group on one pair of axes."""
    draw_group(axes, group, MEMORY, looks)
    style.length_axis(axes, group.lengths(), names(group))
    _frame(axes, group, looks)
    style.bytes_axis(axes)
    name_lines(axes, group, MEMORY, looks)
    axes.set_ylabel(MEMORY_NAMES[group.setting.device])


def _frame(axes: Axes, group: Group, looks: Looks) -> None:
    """The range of the axis; the limit is drawn where something comes near it."""
    values = [value for series in group.series for value in series.values(MEMORY).values()]
    low, high, limit = min(values), max(values), group.limit_bytes()
    failed = any(
        outcome == "oom" for series in group.series for outcome in series.outcomes().values()
    )
    if limit is None or not (failed or limit < 8 * high):
        axes.set_ylim(low / 1.4, high * 1.6)
        mark_failures(axes, group, looks)
        return
    axes.set_ylim(low / 1.4, max(limit, high) * 1.6)
    axes.axhline(limit, color=style.REFERENCE_COLOUR, linewidth=1.0, linestyle=(0, (4, 2)))
    axes.annotate(
        f"limit: {format_bytes(limit)}",
        (0.01, limit),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=8,
        color=style.REFERENCE_COLOUR,
    )
    mark_failures(axes, group, looks, limit)
