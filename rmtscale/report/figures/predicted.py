"""Predicted against measured, by length, with the residual underneath.

Memory is predicted as the sum of live tensors; time as a roofline, which is a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.lines import Looks, name_lines, with_values
from rmtscale.report.quantities import MEMORY, TIME, Quantity
from rmtscale.report.series import Group, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def residuals(series: Series, quantity: Quantity) -> dict[int, float]:
    """Returns predicted over measured less one, by length, where both are known."""
    predicted, measured = series.predicted(quantity), series.values(quantity)
    return {
        t: predicted[t] / value - 1 for t, value in measured.items() if value and t in predicted
    }


@style.styled
def _draw(quantity: Quantity, groups: Sequence[Group], looks: Looks) -> Figure | None:
    groups = [
        group
        for group in with_values(groups, quantity)
        if any(residuals(series, quantity) for series in group.series)
    ]
    if not groups:
        return None
    figure, panels = style.new_grid(len(groups), rows=(3.0, 1.4), height=5.0)
    for (top, below), group in zip(panels, groups, strict=True):
        _lines(top, group, quantity, looks)
        _residuals(below, group, quantity, looks)
        style.length_axis(below, group.lengths(), group.labels())
        name_lines(top, group, quantity, looks)
        top.set_xlabel("")
        top.tick_params(labelbottom=False)
        top.set_title(group.name)
    return figure


draw_memory = partial(_draw, MEMORY)
draw_time = partial(_draw, TIME)


def _lines(axes: Axes, group: Group, quantity: Quantity, looks: Looks) -> None:
    """Lines are predicted, hollow marks measured."""
    every: list[float] = []
    for series in group.series:
        look = looks[series.label]
        predicted, measured = series.predicted(quantity), series.values(quantity)
        every += [*predicted.values(), *measured.values()]
        axes.plot(
            list(predicted),
            list(predicted.values()),
            look.line,
            color=look.colour,
            gid=f"predicted {series.label}",
        )
        axes.plot(
            list(measured),
            list(measured.values()),
            look.marker,
            color=look.colour,
            markerfacecolor="white",
            gid=series.label,
        )
    axes.set_ylim(min(every) / 1.5, max(every) * 1.8)
    if quantity is MEMORY:
        style.bytes_axis(axes)
    else:
        style.seconds_axis(axes)
    axes.plot([], [], "-", color=style.REFERENCE_COLOUR, label="predicted")
    axes.plot([], [], "o", color=style.REFERENCE_COLOUR, mfc="white", label="measured")
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    axes.set_ylabel("memory" if quantity is MEMORY else "time (predicted: roofline)")


def _residuals(axes: Axes, group: Group, quantity: Quantity, looks: Looks) -> None:
    axes.axhline(0.0, color=style.REFERENCE_COLOUR, linewidth=0.8)
    for series in group.series:
        errors, look = residuals(series, quantity), looks[series.label]
        axes.plot(
            list(errors),
            [100 * error for error in errors.values()],
            look.line,
            marker=look.marker,
            color=look.colour,
            markersize=4,
            markerfacecolor="white",
            linewidth=1.0,
            gid=f"residual {series.label}",
        )
    axes.set_ylabel("pred./meas. - 1, %", fontsize=8)
    axes.margins(y=0.2)
