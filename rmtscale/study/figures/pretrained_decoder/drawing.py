"""The change of a pretrained decoder's loss by memory: a row for each way to train it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.colours import ink
from rmtscale.report.names import names_inches
from rmtscale.study.figures.language.groups import InputSize
from rmtscale.study.figures.language.lines import limits
from rmtscale.study.figures.pretrained_decoder.claims import context_gains, gains
from rmtscale.study.figures.pretrained_decoder.names import (
    short_names,
    way_name,
    what_names_say,
)
from rmtscale.study.records.clusters import Interval
from rmtscale.units import format_tokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HELPS = "left of 0 memory helps"
"""Second line of a heading: on which side memory helps."""
_ROW_INCHES = 0.4
_HEADING_INCHES = 3.0
"""Width that holds the longest heading of a panel."""
_SPREAD = 0.62
"""Share of a row that its points take, from the fewest segments at the top to the most."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a panel."""

    name: str
    gains: Mapping[int, Interval]
    """Change of the loss by number of segments read."""
    way: InputSize | None = None
    """None where it is a model without memory."""


@style.styled
def draw(ways: Sequence[InputSize], title: str = "") -> Figure:
    """Draws bits per byte less those without memory, a panel by what is trained and input size.

    Each way has a row of its own, so that none lies on another, and so have the models without
    memory and with true context that it is held against. What is trained has a scale of its own:
    memory alone moves the loss ten times as far as all weights do.

    Args:
        ways: every way of training and size of memory.
        title: the answer in words.
    """
    sizes = list(dict.fromkeys(way.segment_size for way in ways))
    trained = list(dict.fromkeys(way.trained_weights for way in ways))
    # What nothing is there to hold against has no row.
    shown = [way for way in ways if gains(way)] or ways
    panels = {
        (kind, size): _rows(own)
        for kind in trained
        for size in sizes
        if (own := [w for w in shown if (w.trained_weights, w.segment_size) == (kind, size)])
    }
    said = _said_below(ways)
    room = names_inches([row.name for rows in panels.values() for row in rows])
    columns = len(sizes) if len(trained) > 1 else 1
    figure, grid = style.new_grid(
        len(panels),
        width=6.2 + room,
        height=1.1 + _ROW_INCHES * max(map(len, panels.values())),
        margins=style.Margins(left=room, right=0.25),
        above=0.5,
        below=0.1 + 0.17 * len(said),
        columns=columns,
        panel_width=_HEADING_INCHES,
    )
    for (axes,), ((kind, size), rows) in zip(grid, panels.items(), strict=True):
        colour = style.SEQUENCE_COLOURS[trained.index(kind) % len(style.SEQUENCE_COLOURS)]
        _panel(axes, rows, colour)
        style.entitle(axes, f"input {size}, trained: {kind}", HELPS)
    figure.text(
        0.5,
        0.05 / figure.get_figheight(),
        "\n".join(said),
        ha="center",
        va="bottom",
        fontsize=8.5,
        color="#333333",
    )
    style.headline(figure, title)
    return figure


def _said_below(ways: Sequence[InputSize]) -> list[str]:
    """Says what points and names stand for, in lines."""
    counts = sorted({count for way in ways for count in way.counts})
    read = ", ".join(map(format_tokens, counts))
    lines = [f"points of a row, from top to bottom: {read} segments read; filled: as trained"]
    return lines + wrap(what_names_say(ways).replace("*", ""), 105)


def _rows(own: Sequence[InputSize]) -> list[_Row]:
    """Lists what a panel shows: no memory, every way to train it, true contexts."""
    zero = Interval(0.0, 0.0, 0.0)
    rows = [_Row("no memory", {1: zero})]
    rows += [_Row(name, gains(way), way) for way, name in zip(own, short_names(own), strict=True)]
    # Of the same weights and size, all ways have the same models without memory.
    rows += [
        _Row(f"true context {format_tokens(context)}", {1: interval})
        for context, interval in context_gains(own[0]).items()
    ]
    return rows


def _panel(axes: Axes, rows: Sequence[_Row], colour: str) -> None:
    known, beyond = [0.0], [0.0]
    for row in rows:
        for count, interval in row.gains.items():
            inside = row.way is None or count <= (row.way.most_trained or 0)
            (known if inside else beyond).extend((interval.low, interval.high))
    axes.set_xlim(*limits(known, beyond))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.axvline(0.0, color=style.FULL_COLOUR, linewidth=1.0, zorder=1.5)
    axes.grid(visible=False, axis="y")
    for place, row in enumerate(rows):
        _points(axes, place, row, colour if row.way else style.FULL_COLOUR)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(ink(colour if row.way else style.FULL_COLOUR))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("bits per byte less no memory")
    axes.locator_params(axis="x", nbins=6)  # numbers of four decimals stay apart


def _points(axes: Axes, place: int, row: _Row, colour: str) -> None:
    """Draws the points of a row with their intervals, and says which ones leave the panel."""
    counts = list(row.gains)
    step = _SPREAD / max(len(counts) - 1, 1)
    heights = {
        count: place + (number - (len(counts) - 1) / 2) * step
        for number, count in enumerate(counts)
    }
    found = list(row.gains.values())
    axes.hlines(
        [*heights.values()],
        [each.low for each in found],
        [each.high for each in found],
        color=colour,
        alpha=0.45,
        linewidth=1.6,
    )
    axes.plot(
        [each.mean for each in found],
        [*heights.values()],
        color=colour,
        linewidth=0.8,
        marker="o",
        markersize=4,
        markerfacecolor="white",
        gid=f"row {way_name(row.way) if row.way else row.name}",
    )
    as_trained = [count for count in counts if row.way is None or _trained(row.way, count)]
    axes.plot(
        [row.gains[count].mean for count in as_trained],
        [heights[count] for count in as_trained],
        "o",
        color=colour,
        markersize=4,
    )
    off = [count for count in counts if row.gains[count].mean > axes.get_xlim()[1]]
    if off:
        axes.annotate(
            f"{', '.join(map(format_tokens, off))}: off to the right",
            (axes.get_xlim()[1], heights[off[0]]),
            xytext=(-4, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8,
            color=ink(colour),
        )


def _trained(way: InputSize, count: int) -> bool:
    return way.start_segments <= count <= (way.most_trained or 0)
