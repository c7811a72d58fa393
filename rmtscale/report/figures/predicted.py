"""Predicted against measured, by length, with the residual underneath.

Memory is predicted as the sum of live tensors, time between two ends; both by the formulas of
today, whatever was predicted before the measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.lines import draw_bars, margins, name_lines
from rmtscale.report.figures.panels import Panel, look_of, panels_of
from rmtscale.report.predictions import Span
from rmtscale.report.quantities import MEMORY, TIME, Quantity
from rmtscale.report.series import Group, Series
from rmtscale.units import format_percent

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
def _draw(quantity: Quantity, groups: Sequence[Group]) -> Figure | None:
    panels = panels_of(groups, lambda series: bool(residual_spans(series, quantity)))
    if not panels:
        return None
    figure, grid = style.new_grid(
        len(panels), rows=(3.0, 1.4), height=4.6, margins=margins(panels), below=0.35
    )
    for (top, below), panel in zip(grid, panels, strict=True):
        _lines(top, panel, quantity)
        _residuals(below, panel, quantity)
        style.length_axis(below, panel.lengths())
        name_lines(top, panel, quantity)
        top.set_xlabel("")
        top.tick_params(labelbottom=False)
        style.entitle(top, panel.title, _span_words(panel.series, quantity))
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="lower center", ncols=len(labels), frameon=False, fontsize=8.5
    )
    every = [series for panel in panels for series in panel.series]
    what = "Memory" if quantity is MEMORY else "Time"
    style.headline(figure, f"{what}: {_span_words(every, quantity)}")
    return figure


def _span_words(series: Sequence[Series], quantity: Quantity) -> str:
    """Says how far predictions are off: ``the prediction is off by -2.8 % to +0.4 %``."""
    errors = [error for one in series for error in residuals(one, quantity).values()]
    if not errors:
        return "nothing is likeliest, only a range is predicted"
    low, high = (format_percent(end, signed=True) for end in (min(errors), max(errors)))
    return f"the prediction is off by {low} to {high}"


draw_memory = partial(_draw, MEMORY)
draw_time = partial(_draw, TIME)


def _lines(axes: Axes, panel: Panel, quantity: Quantity) -> None:
    """Lines are predicted, in a band of what else it may be; hollow marks are measured."""
    every: list[float] = []
    for series in panel.series:
        look = look_of(series)
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
            markerfacecolor=look.face,
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
        axes.fill_between([], [], [], color=style.REFERENCE_COLOUR, alpha=0.13, label="its range")
    axes.set_ylabel("memory" if quantity is MEMORY else "time")


def _residuals(axes: Axes, panel: Panel, quantity: Quantity) -> None:
    """Where a bar holds zero, the interval holds what was measured."""
    axes.axhline(0.0, color=style.REFERENCE_COLOUR, linewidth=0.8)
    for series in panel.series:
        spans, look = residual_spans(series, quantity), look_of(series)
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
            markerfacecolor=look.face,
            linewidth=1.0,
            gid=f"residual {series.label}",
        )
    axes.set_ylabel("off by, %")
    axes.margins(y=0.2)
