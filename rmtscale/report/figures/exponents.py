"""The fitted exponents of memory and time with their 95 % intervals: 1 is linear, 2 quadratic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.colours import ink
from rmtscale.report.figures.answers import short_name
from rmtscale.report.figures.panels import look_of
from rmtscale.report.fits import Power, fit_power
from rmtscale.report.quantities import MEMORY, TIME, Quantity
from rmtscale.report.series import Group, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_SHOWN = (-0.4, 2.9)
"""Exponents that are on the axis."""


def fits(group: Group) -> list[tuple[Series, Quantity, Power]]:
    """Returns all fits: time first, then memory."""
    return [
        (series, quantity, fit)
        for quantity in (TIME, MEMORY)
        for series in group.series
        if (fit := fit_power(series.values(quantity))) is not None
    ]


@style.styled
def draw(groups: Sequence[Group]) -> Figure | None:
    """Draws a panel for each group; None where no series has three points."""
    fitted = [(group, rows) for group in groups if (rows := fits(group))]
    if not fitted:
        return None
    most = max(len(rows) for _, rows in fitted)
    longest = max(len(series.label) for _, rows in fitted for series, _, _ in rows)
    figure, panels = style.new_grid(
        len(fitted),
        width=9.0,
        height=1.3 + 0.24 * most,
        columns=1,
        margins=style.Margins(left=1.35 + 0.07 * longest, right=2.3, top=0.62),
    )
    for (axes,), (group, rows) in zip(panels, fitted, strict=True):
        _dots(axes, rows)
        style.entitle(axes, group.name, _answer(rows))
    style.headline(figure, _headline([row for _, rows in fitted for row in rows]))
    return figure


def _answer(rows: Sequence[tuple[Series, Quantity, Power]]) -> str:
    """Says the exponents of time where something is a power of the length."""
    powers = [(series, fit) for series, quantity, fit in rows if quantity is TIME and fit.is_power]
    if not powers:
        return "the time of none is a power of the length yet"
    low, high = (choose(powers, key=lambda one: one[1].exponent) for choose in (min, max))
    if len(powers) == 1:
        return f"time of {short_name(low[0])}: {low[1].exponent:.2f}"
    return (
        f"time: {short_name(low[0])} {low[1].exponent:.2f} to "
        f"{short_name(high[0])} {high[1].exponent:.2f}"
    )


def _headline(rows: Sequence[tuple[Series, Quantity, Power]]) -> str:
    said = []
    for method, name in (("full", "full attention"), ("rmt", "RMT")):
        found = [
            fit.exponent
            for series, quantity, fit in rows
            if quantity is TIME and fit.is_power and series.method == method
        ]
        if found:
            ends = sorted({f"{min(found):.2f}", f"{max(found):.2f}"})
            said.append(f"{name} with exponent {' to '.join(ends)}")
    if not said:
        return "No time grows as a power of the length at the lengths that were measured"
    return f"Time grows as a power of the length: {', '.join(said)}"


def _dots(axes: Axes, rows: Sequence[tuple[Series, Quantity, Power]]) -> None:
    for place, (series, _, fit) in enumerate(rows):
        look = look_of(series)
        # An interval of three points can be wider than any axis; it is cut there, not hidden.
        low, high = max(fit.low, _SHOWN[0]), min(fit.high, _SHOWN[1])
        axes.plot([low, high], [place] * 2, "-", color=look.colour, linewidth=2.2, alpha=0.6)
        axes.plot(
            [fit.exponent],
            [place],
            look.marker,
            color=look.colour,
            markerfacecolor=look.face,
            gid=f"row {series.label}",
        )
        axes.annotate(
            f"{fit.exponent:.2f} from {style.short_tokens(fit.first_tokens)} on"
            + ("" if fit.is_power else " (no power)"),
            (1.03, place),
            xycoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=8.5,
            color=ink(look.colour),
        )
    for value, words in ((0, ""), (1, "linear"), (2, "quadratic")):
        axes.axvline(value, color=style.REFERENCE_COLOUR, linewidth=0.8, linestyle=":")
        axes.annotate(
            words,
            (value, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(3, -9),
            textcoords="offset points",
            fontsize=8,
            color=style.REFERENCE_COLOUR,
        )
    axes.set_yticks(
        range(len(rows)), [f"{series.label}: {quantity.name}" for series, quantity, _ in rows]
    )
    axes.set_ylim(len(rows) - 0.4, -1.1)
    axes.set_xlim(*_SHOWN)
    axes.set_xlabel("exponent of length")
    axes.grid(False, axis="y")
