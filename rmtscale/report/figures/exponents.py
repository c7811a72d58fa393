"""The fitted exponents of memory and time with their 95 % intervals: 1 is linear, 2 quadratic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.lines import Looks
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
def draw(groups: Sequence[Group], looks: Looks) -> Figure | None:
    """Draws a panel for each group; None where no series has three points."""
    fitted = [(group, rows) for group in groups if (rows := fits(group))]
    if not fitted:
        return None
    most = max(len(rows) for _, rows in fitted)
    longest = max(len(series.label) for _, rows in fitted for series, _, _ in rows)
    figure, panels = style.new_grid(
        len(fitted),
        height=1.2 + 0.3 * most,
        margins=style.Margins(left=1.3 + 0.068 * longest, right=1.55),
    )
    for (axes,), (group, rows) in zip(panels, fitted, strict=True):
        _dots(axes, rows, looks)
        axes.set_title(group.name)
    return figure


def _dots(axes: Axes, rows: Sequence[tuple[Series, Quantity, Power]], looks: Looks) -> None:
    for place, (series, _, fit) in enumerate(rows):
        look = looks[series.label]
        # An interval of three points can be wider than any axis; it is cut there, not hidden.
        low, high = max(fit.low, _SHOWN[0]), min(fit.high, _SHOWN[1])
        axes.plot([low, high], [place] * 2, "-", color=look.colour, linewidth=2.2, alpha=0.6)
        axes.plot(
            [fit.exponent],
            [place],
            look.marker,
            color=look.colour,
            markerfacecolor="white" if series.method == "rmt" else look.colour,
            gid=series.label,
        )
        axes.annotate(
            f"{fit.exponent:.2f} from {style.short_tokens(fit.first_tokens)} on"
            + ("" if fit.is_power else " (no power)"),
            (1.01, place),
            xycoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
            color=look.colour,
        )
    for value, words in ((0, "0"), (1, "1: linear"), (2, "2: quadratic")):
        axes.axvline(value, color=style.REFERENCE_COLOUR, linewidth=0.8, linestyle=":")
        axes.annotate(
            words,
            (value, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(2, -9),
            textcoords="offset points",
            fontsize=7.5,
            color=style.REFERENCE_COLOUR,
        )
    axes.set_yticks(
        range(len(rows)), [f"{series.label}: {quantity.name}" for series, quantity, _ in rows]
    )
    axes.set_ylim(len(rows) - 0.4, -1.1)
    axes.set_xlim(*_SHOWN)
    axes.set_xlabel("exponent of length")
    axes.grid(False, axis="y")
