"""Share of the matmul ceiling against length: how much of what the machine can multiply is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.lines import Looks, draw_group, name_lines, with_values
from rmtscale.report.quantities import CEILING
from rmtscale.report.series import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.styled
def draw(groups: Sequence[Group], looks: Looks) -> Figure | None:
    """Draws a panel for each group; None where the ceiling was not measured."""
    groups = with_values(groups, CEILING)
    if not groups:
        return None
    figure, panels = style.new_grid(len(groups), height=3.6)
    for (axes,), group in zip(panels, groups, strict=True):
        draw_group(axes, group, CEILING, looks)
        style.length_axis(axes, group.lengths(), group.labels())
        values = [value for series in group.series for value in series.values(CEILING).values()]
        axes.set_ylim(0, max(values) * 1.2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        name_lines(axes, group, CEILING, looks)
        axes.set_ylabel("FLOP/s over those of a large matmul")
        axes.set_title(group.name)
    return figure
