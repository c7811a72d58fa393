"""Share of the matmul ceiling against length: how much of what the machine can multiply is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.lines import draw_panel, margins, name_lines
from rmtscale.report.figures.panels import Panel, panels_of
from rmtscale.report.quantities import CEILING
from rmtscale.report.series import Group, Series
from rmtscale.units import format_percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.styled
def draw(groups: Sequence[Group]) -> Figure | None:
    """Draws the panels of each group; None where the ceiling was not measured."""
    panels = panels_of(groups, lambda series: bool(series.values(CEILING)))
    if not panels:
        return None
    figure, grid = style.new_grid(len(panels), height=3.4, margins=margins(panels))
    for (axes,), panel in zip(grid, panels, strict=True):
        draw_panel(axes, panel, CEILING)
        style.length_axis(axes, panel.lengths())
        values = [value for series in panel.series for value in series.values(CEILING).values()]
        axes.set_ylim(0, max(values) * 1.2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        name_lines(axes, panel, CEILING)
        axes.set_ylabel("share of a large matmul's FLOP/s")
        style.entitle(axes, panel.title, _answer(panel))
    best = {
        method: max((_highest(one) for group in groups for one in group.of(method)), default=0.0)
        for method in ("full", "rmt")
    }
    style.headline(
        figure,
        "Of what one large matmul reaches, full attention reaches at most "
        f"{format_percent(best['full'])}, RMT {format_percent(best['rmt'])}",
    )
    return figure


def _highest(series: Series) -> float:
    return max(series.values(CEILING).values(), default=0.0)


def _answer(panel: Panel) -> str:
    """Names the series that comes nearest to the ceiling."""
    best = max(panel.series, key=_highest)
    return f"nearest to it: {panel.names[best.label]}, {format_percent(_highest(best))}"
