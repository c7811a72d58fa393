"""One look for all figures: the same colour for the same method everywhere.

Colours are Okabe and Ito's set for colour-blind readers; every series also differs in line style
or marker, so that a grey print can be read.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from rmtscale.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OVER_LINES: Any = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5}
"""The box of a name that other lines pass behind."""
P = ParamSpec("P")
F = TypeVar("F")
"""``Figure``, or ``Figure | None`` where there may be nothing to draw."""

FULL_COLOUR = "#D55E00"
RMT_COLOUR = "#0072B2"
REFERENCE_COLOUR = "#666666"
SEQUENCE_COLOURS = ("#882255", "#CC6677", "#E69F00", "#117733", "#44AA99")
"""For sizes of one family, in order."""

_LOOKS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "full": ((FULL_COLOUR, "#8A3D00", "#F0A35E", "#5C2900"), "osD^p", ("-",)),
    "rmt": (
        (RMT_COLOUR, "#56B4E9", "#003A5C", "#2F8FC4", "#7A9CC6", "#1E5A80"),
        "vPX<>*h",
        ("--", "-.", ":"),
    ),
}
"""Shades, markers and lines of each method."""


class Look(NamedTuple):
    """How one series is drawn, in every figure of a report."""

    colour: str
    marker: str
    line: str


def looks(series: Iterable[tuple[str, str]]) -> dict[str, Look]:
    """Returns the look by ``(label, method)``: full attention orange and solid, RMT blue, broken.

    The first of a method has its main colour. Shades, markers and lines are of different numbers,
    so that many variants of one method stay apart.
    """
    by_label: dict[str, Look] = {}
    count = {"full": 0, "rmt": 0}
    for label, method in dict.fromkeys(series):
        shades, markers, lines = _LOOKS[method]
        index = count[method]
        count[method] += 1
        by_label[label] = Look(
            shades[index % len(shades)], markers[index % len(markers)], lines[index % len(lines)]
        )
    return by_label


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


def styled(draw: Callable[P, F]) -> Callable[P, F]:
    """Decorates a function that draws a figure, so that all of it is drawn in this style."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> F:
        import matplotlib as mpl

        with mpl.rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(columns: int = 1, width: float = 9.0, height: float = 4.4) -> tuple[Figure, Any]:
    """Makes a figure of ``columns`` panels, drawn without any window system."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(1, columns, squeeze=False)[0]


class Margins(NamedTuple):
    """Inches around each panel, for what is written there."""

    left: float = 0.85
    right: float = 0.12
    bottom: float = 0.5
    top: float = 0.32


def new_grid(
    panels: int,
    rows: Sequence[float] = (1.0,),
    width: float = 7.2,
    height: float = 4.2,
    margins: Margins = Margins(),  # noqa: B008
    below: float = 0.0,
) -> tuple[Figure, list[list[Axes]]]:
    """Panels side by side, two in a row; each is ``rows`` axes on top of each other.

    Margins are given, not found: to find them a figure has to be drawn twice more.

    Args:
        rows: relative heights of the axes of one panel; they share their lengths.
        height: of one panel, inches.
        below: inches under all panels, for a legend.

    Returns:
        The figure, and for each panel its axes from top to bottom.
    """
    from matplotlib.figure import Figure

    columns = min(panels, 2)
    lines = math.ceil(panels / columns)
    width = width if columns == 1 else 11.0
    # Long names make the figure wider; they never leave a panel without room.
    width = max(width, columns * (margins.left + margins.right + 1.8))
    total = height * lines + below
    figure = Figure(figsize=(width, total))
    figure.set_layout_engine("none")
    inner_width = width / columns - margins.left - margins.right
    inner_height = height - margins.top - margins.bottom
    grid = figure.add_gridspec(
        lines,
        columns,
        left=margins.left / width,
        right=1 - margins.right / width,
        bottom=(margins.bottom + below) / total,
        top=1 - margins.top / total,
        wspace=(margins.left + margins.right) / inner_width,
        hspace=(margins.bottom + margins.top) / inner_height,
    )
    axes_by_panel = []
    for panel in range(panels):
        cell = grid[divmod(panel, columns)].subgridspec(
            len(rows), 1, height_ratios=list(rows), hspace=0.09
        )
        first = figure.add_subplot(cell[0])
        others = [figure.add_subplot(cell[row], sharex=first) for row in range(1, len(rows))]
        for axes in (first, *others)[:-1]:
            axes.tick_params(labelbottom=False)
        axes_by_panel.append([first, *others])
    return figure, axes_by_panel


def render(figure: Figure) -> dict[str, bytes]:
    """Returns the figure as ``{"png": ..., "svg": ...}``, both with the digest of their data."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    png, svg = io.BytesIO(), io.BytesIO()
    with mpl.rc_context(_SETTINGS):
        figure.set_dpi(160)
        # Not through ``savefig``, which draws everything once more before each file.
        agg: Any = FigureCanvasAgg(figure)  # its printers have no types
        digest = data_digest(figure)
        agg.print_png(png, metadata={"Software": None, "Description": digest})
        figure.set_layout_engine("none")  # it is laid out by now
        vector: Any = FigureCanvasSVG(figure)
        vector.print_svg(svg, metadata={"Date": None, "Creator": None, "Description": digest})
    return {"png": png.getvalue(), "svg": svg.getvalue()}


def picture_files(name: str, figure: Figure) -> dict[str, bytes]:
    """Returns the figure rendered as ``NAME.png`` and ``NAME.svg``."""
    return {f"{name}.{suffix}": content for suffix, content in render(figure).items()}


def data_digest(figure: Figure) -> str:
    """Returns ``data sha256 ...`` of every line and bar: of the numbers, whatever the fonts."""
    import numpy as np
    from matplotlib.patches import Rectangle

    numbers = hashlib.sha256()
    for axes in figure.axes:
        shapes: list[tuple[Any, ...]] = [
            (line.get_gid(), *np.ravel(line.get_xydata())) for line in axes.get_lines()
        ]
        shapes += [
            (bar.get_gid(), bar.get_x(), bar.get_y(), bar.get_width(), bar.get_height())
            for bar in axes.patches
            if isinstance(bar, Rectangle)
        ]
        for name, *values in shapes:
            numbers.update(f"{name} {[f'{float(value):.6g}' for value in values]}\n".encode())
    return f"data sha256 {numbers.hexdigest()}"


def token_axis(axes: Axes, lengths: list[int]) -> None:
    """Makes a log axis of lengths, ticked at them and written as people say them."""
    axes.set_xscale("log")
    axes.set_xticks(lengths, [short_tokens(tokens) for tokens in lengths])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("input length, tokens")


def length_axis(axes: Axes, lengths: Sequence[int], names: Iterable[str] = ()) -> None:
    """Makes a log axis of measured lengths: ticked at them, thinned where they would touch.

    Args:
        names: of the lines, written beside their ends; there is room for the longest.
    """
    share = min((12 + 4.7 * max(map(len, names), default=0)) / 330, 0.6)
    room = share / (1 - share)
    first, last = math.log10(min(lengths)), math.log10(max(lengths))
    span = max(last - first, 0.3)
    ticks: list[int] = []
    for tokens in sorted(lengths, reverse=True):
        if not ticks or math.log10(ticks[-1] / tokens) > span * (1 + room) / 11:
            ticks.append(tokens)
    axes.set_xscale("log")
    axes.set_xticks(ticks, [short_tokens(tokens) for tokens in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("input length, tokens")
    axes.set_xlim(10 ** (first - 0.05 * span), 10 ** (last + room * span))


def unit_axis(axes: Axes, show: Callable[[float], str], base: int = 10) -> None:
    """Makes a log y axis ticked in the words of ``show``, every 1, 2 and 5 where there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log", base=base)
    low, high = axes.get_ylim()
    decades = math.log(high / low, base)
    subs: tuple[float, ...] = (1.0, 2.0, 5.0)
    if base == 2 or decades > 3:
        subs = (1.0,)
    elif decades < 0.7:
        subs = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    axes.yaxis.set_major_locator(LogLocator(base=base, subs=subs, numticks=9))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_unit(show(value))))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(low, high)


def bytes_axis(axes: Axes) -> None:
    """Makes a log axis of bytes, ticked at powers of two."""
    unit_axis(axes, format_bytes, 2)


def seconds_axis(axes: Axes) -> None:
    """Makes a log axis of durations."""
    unit_axis(axes, format_seconds)


def short_unit(text: str) -> str:
    """Shortens ``2.000 GiB`` to ``2 GiB``."""
    number, _, unit = text.partition(" ")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return f"{number} {unit}"


def plain_log_axis(axes: Axes) -> None:
    """Makes a log y axis ticked 1, 10, 100, ... instead of powers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")


def short_tokens(tokens: int) -> str:
    """Formats tokens for a tick, exact and short: 512, 32,768, 64k, 2.048M."""
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:g}M"
    return f"{tokens // 1000}k" if tokens % 1000 == 0 else f"{tokens:,}"


def label_line_ends(
    axes: Axes, ends: Sequence[tuple[float, float, str, str]], *, leaders: bool = False
) -> None:
    """Names beside the right ends of lines, moved apart where they would overlap.

    Args:
        ends: ``(x, y, text, colour)`` of each line's last point.
        leaders: thin lines from ends to names, where many names had to move.
    """
    scale = axes.yaxis.get_transform()

    def height(value: float) -> float:
        return float(scale.transform([value])[0])

    low, high = (height(limit) for limit in axes.get_ylim())
    height_inches = axes.get_position().height * axes.get_figure(root=True).get_figheight()  # type: ignore[union-attr]
    apart = (high - low) * 11 / (72 * height_inches)
    ends = sorted(ends, key=lambda end: end[1])
    places = [height(end[1]) for end in ends]
    longest = max((end[0] for end in ends), default=0.0)
    for _ in range(200):  # neighbours that are too near push each other away by equal steps
        for index in range(len(places) - 1):
            overlap = apart - (places[index + 1] - places[index])
            if overlap > 0:
                places[index] -= overlap / 2
                places[index + 1] += overlap / 2
        if leaders:  # inside the axes, however far that is from the line
            for index in range(len(places)):
                above = high - (len(places) - index - 0.5) * apart
                places[index] = min(max(places[index], low + (index + 0.5) * apart), above)
    for (end_x, y, text, colour), place in zip(ends, places, strict=True):
        moved = float(scale.inverted().transform([place])[0])
        x = end_x
        if leaders:  # a ninth of the way from the line's end to the edge
            x *= (axes.get_xlim()[1] / end_x) ** 0.11
            axes.plot([end_x, x], [y, moved], color=colour, linewidth=0.5, clip_on=False)
        axes.annotate(
            text,
            (x, moved),
            xytext=(2 if leaders else 7, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=8,
            annotation_clip=False,
            # Beside a line that ends early others go on.
            bbox=OVER_LINES if end_x < longest else None,
        )
