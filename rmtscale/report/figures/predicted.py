"""Predicted against measured, by length, with the residual underneath.

Memory is predicted as the sum of live tensors, time between two ends; both by the formulas of
today, whatever was predicted before the measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.lines import Looks, draw_bars, name_lines, with_values
from rmtscale.report.predictions import Span
from rmtscale.report.quantities import MEMORY, TIME, Quantity
from rmtscale.report.series import Group, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def residual_spans(series: Series, quantity: Quantity) -> dict[int, Span]:
    """Returns predicted over measured less one, by length, where both are known.

    None on a CPU for memory: what is resident there is no allocator's peak, which is predicted.
    """
    if quantity is MEMORY and series.point.device == "cpu":
        return {}
    predicted, measured = series.predicted(quantity), series.values(quantity)
    return {
        tokens: Span(
            span.least / value - 1,
            span.most / value - 1,
            None if span.likely is None else span.likely / value - 1,
        )
        for tokens, value in measured.items()
        if value and (span := predicted.get(tokens)) is not None
    }


def residuals(series: Series, quantity: Quantity) -> dict[int, float]:
    """Returns the residuals of what is likeliest, by length."""
    spans = residual_spans(series, quantity)
    return {tokens: span.likely for tokens, span in spans.items() if span.likely is not None}


@style.styled
def _draw(quantity: Quantity, groups: Sequence[Group], looks: Looks) -> Figure | None:
    groups = [
        group
        for group in with_values(groups, quantity)
        if any(residual_spans(series, quantity) for series in group.series)
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
    """Lines are predicted, in a band of what else it may be; hollow marks are measured."""
    every: list[float] = []
    for series in group.series:
        look = looks[series.label]
        predicted, measured = series.predicted(quantity), series.values(quantity)
        every += [end for span in predicted.values() for end in (span.least, span.most)]
        every += measured.values()
        likely = {tokens: span.likely for tokens, span in predicted.items() if span.likely}
        axes.plot(
            list(likely),
            list(likely.values()),
            look.line,
            color=look.colour,
            gid=f"predicted {series.label}",
        )
        axes.fill_between(
            list(predicted),
            [span.least for span in predicted.values()],
            [span.most for span in predicted.values()],
            color=look.colour,
            alpha=0.13,
            linewidth=0,
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
    if quantity is TIME:
        axes.fill_between(
            [], [], [], color=style.REFERENCE_COLOUR, alpha=0.13, label="its interval"
        )
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    axes.set_ylabel("memory" if quantity is MEMORY else "time")


def _residuals(axes: Axes, group: Group, quantity: Quantity, looks: Looks) -> None:
    """Where a bar holds zero, the interval holds what was measured."""
    axes.axhline(0.0, color=style.REFERENCE_COLOUR, linewidth=0.8)
    for series in group.series:
        spans, look = residual_spans(series, quantity), looks[series.label]
        errors = residuals(series, quantity)
        if quantity is TIME:
            ends = {t: (100 * span.least, 100 * span.most) for t, span in spans.items()}
            draw_bars(axes, ends, look.colour)
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
