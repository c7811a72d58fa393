"""One look for all figures: the same colour for the same method everywhere.

Colours are Okabe and Ito's set for colour-blind readers; every series also differs in line style
or marker, so that a grey print can be read.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

FULL_COLOUR = "#D55E00"
RMT_COLOUR = "#0072B2"
REFERENCE_COLOUR = "#666666"
SEQUENCE_COLOURS = ("#882255", "#CC6677", "#E69F00", "#117733", "#44AA99")
"""For sizes of one family, in order."""

_SETTINGS: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    # Without a date and with a fixed salt the same data give the same file.
    "svg.hashsalt": "rmtscale",
    "figure.constrained_layout.use": True,
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorates a function that draws a figure, so that all of it is drawn in this style."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        import matplotlib as mpl

        with mpl.rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(columns: int = 1, width: float = 9.0, height: float = 4.4) -> tuple[Figure, Any]:
    """A figure of ``columns`` panels, drawn without any window system."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def render(figure: Figure) -> dict[str, bytes]:
    """The figure as ``{"png": ..., "svg": ...}``."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    files = {}
    with mpl.rc_context(_SETTINGS):
        for kind, canvas in (("png", FigureCanvasAgg), ("svg", FigureCanvasSVG)):
            canvas(figure)
            buffer = io.BytesIO()
            metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
            figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
            files[kind] = buffer.getvalue()
    return files


def token_axis(axes: Axes, lengths: list[int]) -> None:
    """A log axis of lengths, ticked at them and written as people say them."""
    axes.set_xscale("log")
    axes.set_xticks(lengths, [short_tokens(tokens) for tokens in lengths])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("input length, tokens")


def plain_log_axis(axes: Axes) -> None:
    """A log y axis ticked 1, 10, 100, ... instead of powers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")


def short_tokens(tokens: int) -> str:
    """512, 32,768, 64k, 2.048M: exact and short enough for a tick."""
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:g}M"
    return f"{tokens // 1000}k" if tokens % 1000 == 0 else f"{tokens:,}"


def label_line_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names beside the right ends of lines on a log axis, moved apart where they would overlap.

    Args:
        ends: ``(x, y, text, colour)`` of each line's last point.
    """
    low, high = axes.get_ylim()
    height_inches = axes.get_position().height * axes.get_figure(root=True).get_figheight()  # type: ignore[union-attr]
    apart = math.log10(high / low) * 11 / (72 * height_inches)
    ends = sorted(ends, key=lambda end: end[1])
    places = [math.log10(end[1]) for end in ends]
    for _ in range(200):  # neighbours that are too near push each other away by equal steps
        for index in range(len(places) - 1):
            overlap = apart - (places[index + 1] - places[index])
            if overlap > 0:
                places[index] -= overlap / 2
                places[index + 1] += overlap / 2
    for (x, _, text, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            text,
            (x * 1.06, 10**place),
            color=colour,
            va="center",
            fontsize=8,
            annotation_clip=False,
        )
