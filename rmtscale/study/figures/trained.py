"""The look of a model by the number of segments it was trained on, the same in every figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#882255", "#CC6677", "#E69F00", "#999933", "#117733", "#44AA99", "#0072B2")
"""From 1 to 7 trained segments."""
_MARKERS = "osD^vPX"


def trained_look(trained: int) -> Look:
    """Returns the look of a model trained on so many segments; more than 7 begin anew."""
    index = (trained - 1) % len(_COLOURS)
    return Look(_COLOURS[index], _MARKERS[index], "-")


def trained_legend(figure: Figure, axes: Axes) -> None:
    """Draws one legend under all panels, of the lines labelled in ``axes``, and of level lines."""
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        [*handles, Line2D([], [], color=style.FULL_COLOUR, linewidth=1.0)],
        [*(f"trained on {label}" for label in labels), "no memory"],
        loc="outside lower center",
        ncols=len(labels) + 1,
        frameon=False,
        fontsize=8.5,
    )
