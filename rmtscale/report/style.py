"""One look for all figures: a method has one colour, an attention one line, a segment one marker.

Colours are Okabe and Ito's set for colour-blind readers; every series also differs in line style
or marker, so that a grey print can be read. A name is written in a darker shade where its line's
colour is too light for text. Titles say the answer.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import re
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from rmtscale.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
F = TypeVar("F")
"""``Figure``, or ``Figure | None`` where there may be nothing to draw."""

FULL_COLOUR = "#D55E00"
RMT_COLOUR = "#0072B2"
REFERENCE_COLOUR = "#666666"
SEQUENCE_COLOURS = ("#882255", "#CC6677", "#E69F00", "#117733", "#44AA99")
"""For sizes of one family, in order."""
METHOD_COLOURS = {"full": FULL_COLOUR, "rmt": RMT_COLOUR}
_LINES = {"sdpa": "-", "eager": "--", "flash_attention_2": "-."}
"""Lines by kind of attention; any other is dotted."""
_FULL_MARKER = "o"
_SEGMENT_MARKERS = "v^sDPX*<>"
"""Markers by doublings of the segment size: 500 and 512 have the same, 1000 and 1024 the next."""


class Look(NamedTuple):
    """How one series is drawn, in every figure."""

    colour: str
    marker: str
    line: str
    hollow: bool = False
    """Whether its markers are open: RMT as it is written down, neither captured nor compiled."""

    @property
    def face(self) -> str:
        """The colour inside its markers."""
        return "white" if self.hollow else self.colour


def look(method: str, attention: str, segment_size: int | None, *, plain: bool = True) -> Look:
    """Returns the look of a series: the same wherever the series is drawn.

    Args:
        method: gives the colour.
        attention: gives the line.
        segment_size: gives the marker; None for full attention.
        plain: whether nothing of it is captured or compiled.
    """
    marker = _FULL_MARKER
    if segment_size is not None:
        marker = _SEGMENT_MARKERS[round(math.log2(segment_size)) % len(_SEGMENT_MARKERS)]
    return Look(
        METHOD_COLOURS[method],
        marker,
        _LINES.get(attention, ":"),
        hollow=method == "rmt" and plain,
    )


_SETTINGS: Any = {
    "font.size": 9,
    # A browser has one of these, as wide as the first; each text of an SVG names them all.
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    # Nothing stands above a panel: without a height every tick is measured to find that out.
    "axes.titley": 1.0,
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


def headline(figure: Figure, text: str) -> None:
    """Writes the answer over all panels."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    place: dict[str, Any] = {"x": 0.09 / figure.get_figwidth()}
    if not isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        place |= {"y": 1 - 0.07 / figure.get_figheight(), "va": "top"}
    # So many letters of this size stand in an inch.
    text = fill(text, round(figure.get_figwidth() * 10.8))
    figure.suptitle(text, ha="left", fontsize=11, fontweight="bold", color="#222222", **place)


def entitle(axes: Axes, name: str, answer: str = "") -> None:
    """Names a panel, and says in a line of its own what it shows."""
    axes.set_title(name, pad=18 if answer else 6)
    if answer:
        axes.annotate(
            answer,
            (0.0, 1.0),
            xycoords="axes fraction",
            xytext=(0, 5),
            textcoords="offset points",
            fontsize=8.5,
            color="#333333",
            annotation_clip=False,
        )


class Margins(NamedTuple):
    """Inches around each panel, for what is written there."""

    left: float = 0.85
    right: float = 0.12
    bottom: float = 0.5
    top: float = 0.52


def new_grid(
    panels: int,
    rows: Sequence[float] = (1.0,),
    width: float = 7.2,
    height: float = 4.2,
    margins: Margins = Margins(),  # noqa: B008
    below: float = 0.0,
    above: float = 0.3,
    columns: int = 2,
    panel_width: float = 1.8,
) -> tuple[Figure, list[list[Axes]]]:
    """Panels side by side, the last over the whole width where it is alone there.

    Each is ``rows`` axes on top of each other.

    Margins are given, not found: to find them a figure has to be drawn twice more.

    Args:
        rows: relative heights of the axes of one panel; they share their lengths.
        height: of one panel, inches.
        below: inches under all panels, for a legend.
        above: inches over all panels, for the answer.
        columns: at most so many panels in a row.
        panel_width: the least width of a panel between its margins, inches.

    Returns:
        The figure, and for each panel its axes from top to bottom.
    """
    from matplotlib.figure import Figure

    columns = min(panels, columns)
    lines = math.ceil(panels / columns)
    width = width if columns == 1 else 11.0
    # Long names make the figure wider; they never leave a panel without room.
    width = max(width, columns * (margins.left + margins.right + panel_width))
    total = height * lines + below + above
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
        top=1 - (margins.top + above) / total,
        wspace=(margins.left + margins.right) / inner_width,
        hspace=(margins.bottom + margins.top) / inner_height,
    )
    axes_by_panel = []
    for panel in range(panels):
        line, column = divmod(panel, columns)
        alone = column == 0 and panel == panels - 1
        cell = grid[line, :] if alone else grid[line, column]
        inner = cell.subgridspec(len(rows), 1, height_ratios=list(rows), hspace=0.09)
        first = figure.add_subplot(inner[0])
        others = [figure.add_subplot(inner[row], sharex=first) for row in range(1, len(rows))]
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
    return {"png": png.getvalue(), "svg": _cut_short(svg.getvalue())}


_TAG, _DIGITS = re.compile(rb"<[^>]+>"), re.compile(rb"(\d\.\d\d)\d+")


def _cut_short(svg: bytes) -> bytes:
    """Cuts coordinates to a hundredth of a point, which nobody sees: matplotlib writes millionths.

    That is an eighth of a picture. Text stays as it is.
    """
    return _TAG.sub(lambda tag: _DIGITS.sub(rb"\1", tag[0]), svg)


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


def length_axis(axes: Axes, lengths: Sequence[int]) -> None:
    """Makes a log axis of measured lengths: ticked at them, thinned where they would touch."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    first, last = math.log10(min(lengths)), math.log10(max(lengths))
    span = max(last - first, 0.3)
    ticks: list[int] = []
    for tokens in sorted(lengths, reverse=True):
        if not ticks or math.log10(ticks[-1] / tokens) > span / 7:
            ticks.append(tokens)
    axes.set_xscale("log")
    # Told, not set: matplotlib makes a tick that is set at once, and makes it again to draw it.
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([short_tokens(tokens) for tokens in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("input length, tokens")
    axes.set_xlim(10 ** (first - 0.05 * span), 10 ** (last + 0.05 * span))


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
