"""Time and energy per token against length: flat is linear growth, rising is worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.lines import Looks, draw_group, name_lines, with_values
from rmtscale.report.quantities import ENERGY_PER_TOKEN, TIME_PER_TOKEN
from rmtscale.report.series import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.styled
def draw(groups: Sequence[Group], looks: Looks) -> Figure | None:
    """Draws a panel for each group and quantity that was measured; None where none was."""
    wanted = [
        (group, quantity)
        for group in groups
        for quantity in (TIME_PER_TOKEN, ENERGY_PER_TOKEN)
        if with_values([group], quantity)
    ]
    if not wanted:
        return None
    figure, panels = style.new_grid(len(wanted), height=3.6)
    for (axes,), (group, quantity) in zip(panels, wanted, strict=True):
        draw_group(axes, group, quantity, looks)
        values = [value for series in group.series for value in series.values(quantity).values()]
        style.length_axis(axes, group.lengths(), group.labels())
        axes.set_ylim(min(values) / 1.5, max(values) * 1.5)
        style.unit_axis(axes, quantity.show)
        name_lines(axes, group, quantity, looks)
        axes.set_ylabel(quantity.name)
        axes.set_title(group.name)
    return figure
