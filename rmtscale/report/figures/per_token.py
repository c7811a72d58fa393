"""Time and energy per token against length: flat is linear growth, rising is worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.answers import short_name
from rmtscale.report.figures.lines import draw_panel, margins, name_lines
from rmtscale.report.figures.panels import Panel, panels_of
from rmtscale.report.quantities import ENERGY_PER_TOKEN, TIME_PER_TOKEN, Quantity
from rmtscale.report.series import Group, Series

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.styled
def draw(groups: Sequence[Group]) -> Figure | None:
    """Draws a panel for each quantity that was measured; None where none was."""
    wanted = [
        (panel, quantity)
        for group in groups
        for quantity in (TIME_PER_TOKEN, ENERGY_PER_TOKEN)
        for panel in panels_of([group], lambda one, of=quantity: bool(one.values(of)))  # type: ignore[misc]
    ]
    if not wanted:
        return None
    figure, grid = style.new_grid(
        len(wanted), height=3.0, margins=margins(panel for panel, _ in wanted)
    )
    for (axes,), (panel, quantity) in zip(grid, wanted, strict=True):
        draw_panel(axes, panel, quantity)
        values = [value for series in panel.series for value in series.values(quantity).values()]
        style.length_axis(axes, panel.lengths())
        axes.set_ylim(min(values) / 1.5, max(values) * 1.5)
        style.unit_axis(axes, quantity.show)
        name_lines(axes, panel, quantity)
        axes.set_ylabel(quantity.name)
        style.entitle(axes, panel.title, _answer(panel, quantity))
    style.headline(figure, _headline(groups))
    return figure


def change(series: Series, quantity: Quantity) -> float | None:
    """Returns the last value over the first; None with less than two."""
    values = series.values(quantity)
    if len(values) < 2:
        return None
    return values[max(values)] / values[min(values)]


def _answer(panel: Panel, quantity: Quantity) -> str:
    """Says what the first series of each method do over their lengths."""
    said = []
    for method in ("full", "rmt"):
        changes = [(one, found) for one in panel.of(method) if (found := change(one, quantity))]
        if changes:
            one, found = max(changes, key=lambda pair: max(pair[0].values(quantity)))
            said.append(f"{short_name(one)} x{found:.2g}")
    return f"first to last length: {', '.join(said)}" if said else "one length only"


def _headline(groups: Sequence[Group]) -> str:
    changes: dict[str, list[float]] = {"full": [], "rmt": []}
    for group in groups:
        for one in group.series:
            found = change(one, TIME_PER_TOKEN)
            if found is not None:
                changes[one.method].append(found)
    named = {"full": "full attention", "rmt": "RMT"}
    said = [
        f"{named[method]} x{min(some):.2g} to x{max(some):.2g}"
        for method, some in changes.items()
        if some
    ]
    if not said:
        return "What a token costs"
    return f"What a token costs in time, last length over first: {', '.join(said)}"
