"""The change of a pretrained decoder's loss by memory: a line for each way of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.names import label_line_ends, names_inches
from rmtscale.study.figures.language.groups import InputSize
from rmtscale.study.figures.language.lines import limits, segments_axis
from rmtscale.study.figures.pretrained_decoder.claims import context_gains, gains, shown_alone
from rmtscale.units import (
    format_memory_tokens,
    format_repeats,
    format_start_segments,
    format_tokens,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BELOW = "below the line at 0 memory helps"
"""Second line of a heading: on which side memory helps."""
_MARKERS = "osD^vPX"
_DASHES = {(False, False): "-", (True, False): "--", (False, True): ":", (True, True): "-."}
"""Lines by whether memory has a sink, and whether training began with more than one segment."""


@style.styled
def draw(ways: Sequence[InputSize], title: str = "") -> Figure:
    """Draws bits per byte less those without memory, a panel by what is trained and input size.

    What is trained has a scale of its own: memory alone moves the loss ten times as far as all
    weights do. Lines are named at their ends by what differs in a panel; those of trainings on
    repeated text have open markers.

    Args:
        ways: every way of training and size of memory.
        title: the answer in words.
    """
    sizes = list(dict.fromkeys(way.segment_size for way in ways))
    trained = list(dict.fromkeys(way.trained_weights for way in ways))
    panels = {
        (kind, size): own
        for kind in trained
        for size in sizes
        if (own := [w for w in ways if (w.trained_weights, w.segment_size) == (kind, size)])
    }
    names = list(dict.fromkeys(_trained_name(way) for way in ways))
    room = names_inches(
        [name for own in panels.values() for name in (*_levels(own), *_short_names(own))]
    )
    figure, grid = style.new_grid(
        len(panels),
        width=5.4 + room,
        height=4.2 if len(panels) < 3 else 3.2,
        margins=style.Margins(right=room),
        above=0.5,
        columns=len(sizes) if len(trained) > 1 else 1,
    )
    for (axes,), ((kind, size), own) in zip(grid, panels.items(), strict=True):
        ends = _panel(axes, own, names)
        axes.set_ylabel("bits per byte less no memory")
        style.entitle(axes, f"input {size}, trained: {kind}", BELOW)
        label_line_ends(axes, ends)
    style.headline(figure, title)
    return figure


def way_name(way: InputSize) -> str:
    """Writes ``10 memory tokens (1 sink), LoRA, from 2 segments, 50 % repeated``."""
    memory = format_memory_tokens(way.memory_tokens, way.sink_tokens)
    start = format_start_segments(way.start_segments)
    repeats = format_repeats(way.repeat_share, way.repeat_until)
    return f"{memory}, {way.trained_weights}{start}{repeats}"


def _trained_name(way: InputSize) -> str:
    """Names what has a colour of its own: what differs in a sink, its beginning or repeated text
    shares it."""
    plain = replace(way, sink_tokens=0, start_segments=1, repeat_share=0.0, repeat_until=1.0)
    return way_name(plain)


def _short_names(own: Sequence[InputSize]) -> list[str]:
    """Names the lines of a panel: the size of memory, a sink, the start and repeated text where
    they differ."""
    sizes = {way.memory_tokens for way in own}
    untils = {way.repeat_until for way in own if way.repeat_share}
    names = []
    for way in own:
        sink = f"{way.sink_tokens} sink" if way.sink_tokens else ""
        start = format_start_segments(way.start_segments).removeprefix(", ")
        memory = format_memory_tokens(way.memory_tokens) if len(sizes) > 1 else ""
        until = way.repeat_until if len(untils) > 1 else 1.0
        repeats = format_repeats(way.repeat_share, until).removeprefix(", ")
        names.append(", ".join(filter(None, (memory, sink, start, repeats))) or "memory")
    return names


def _levels(ways: Sequence[InputSize]) -> dict[str, float]:
    """Names the level lines: no memory, then true context of the way shown alone."""
    levels = {"no memory": 0.0}
    for alone in shown_alone(ways):
        for context, interval in context_gains(alone).items():
            levels[f"true context {format_tokens(context)}"] = interval.mean
    return levels


def _panel(
    axes: Axes, own: Sequence[InputSize], names: Sequence[str]
) -> list[tuple[float, float, str, str]]:
    """Draws the lines of what is trained at an input size.

    Returns:
        ``(x, y, name, colour)`` of the end of each.
    """
    known: list[float] = [0.0]
    beyond: list[float] = []
    for way in own:
        for count, interval in gains(way).items():
            inside = count <= (way.most_trained or 0)
            (known if inside else beyond).extend((interval.low, interval.high))
    levels = _levels(own)
    low, high = limits([*known, *levels.values()], beyond)
    axes.set_ylim(low, high)
    segments_axis(axes, sorted({count for way in own for count in gains(way)} or {1, 2}), room=0.0)
    ends = []
    for name, y in levels.items():
        axes.axhline(
            y,
            color=style.FULL_COLOUR,
            linewidth=1.0,
            linestyle=(0, (4, 1.5)) if y else "-",
            zorder=1.5,
        )
        ends.append((axes.get_xlim()[1], y, name, style.FULL_COLOUR))
    for way, short in zip(own, _short_names(own), strict=True):
        name, index = way_name(way), names.index(_trained_name(way))
        colour = style.SEQUENCE_COLOURS[index % len(style.SEQUENCE_COLOURS)]
        found = gains(way)
        counts = list(found)
        axes.fill_between(
            counts,
            [found[count].low for count in counts],
            [found[count].high for count in counts],
            color=colour,
            alpha=0.18,
            linewidth=0,
        )
        axes.plot(
            counts,
            [found[count].mean for count in counts],
            _DASHES[way.sink_tokens > 0, way.start_segments > 1],
            color=colour,
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=3.5,
            markerfacecolor="white" if way.repeat_share else colour,
            gid=name,
        )
        if counts:  # one that leaves the panel is named where it does
            height = min(found[counts[-1]].mean, high)
            ends.append((counts[-1], height, short, colour))
    return ends
