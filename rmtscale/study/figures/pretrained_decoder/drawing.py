"""The change of a pretrained decoder's loss by memory: a line for each way of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rmtscale.report import style
from rmtscale.study.figures.language.groups import InputSize
from rmtscale.study.figures.language.lines import draw_levels, limits, segments_axis
from rmtscale.study.figures.pretrained_decoder.claims import context_gains, gains, shown_alone
from rmtscale.units import format_memory_tokens, format_start_segments, format_tokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vPX"
_DASHES = {(False, False): "-", (True, False): "--", (False, True): ":", (True, True): "-."}
"""Lines by whether memory has a sink, and whether training began with more than one segment."""


@style.styled
def draw(ways: Sequence[InputSize], title: str = "") -> Figure:
    """Draws a panel for each input size: bits per byte less those without memory.

    Args:
        ways: every way of training and size of memory.
        title: the answer in words.
    """
    from matplotlib.figure import Figure

    sizes = list(dict.fromkeys(way.segment_size for way in ways))
    names = list(dict.fromkeys(_trained_name(way) for way in ways))
    figure = Figure(figsize=(5.4 * max(len(sizes), 1.4) + 0.4, 4.8))
    (row,) = figure.subplots(1, len(sizes), squeeze=False)
    for axes, size in zip(row, sizes, strict=True):
        own = [way for way in ways if way.segment_size == size]
        _panel(axes, own, names)
        axes.set_title(f"input {size}")
    row[0].set_ylabel("bits per byte above those without memory")
    known: dict[str, Any] = {}
    for axes in row:
        handles, labels = axes.get_legend_handles_labels()
        known |= dict(zip(labels, handles, strict=True))
    figure.legend(
        list(known.values()),
        list(known),
        loc="outside lower center",
        ncols=3 if len(sizes) > 1 else 2,
        frameon=False,
        fontsize=8.5,
    )
    style.headline(figure, title)
    return figure


def way_name(way: InputSize) -> str:
    """Writes ``10 memory tokens (1 sink), LoRA, from 2 segments``."""
    memory = format_memory_tokens(way.memory_tokens, way.sink_tokens)
    return f"{memory}, {way.trained_weights}{format_start_segments(way.start_segments)}"


def _trained_name(way: InputSize) -> str:
    """Names what has a colour of its own: what differs in a sink or its beginning shares it."""
    return way_name(replace(way, sink_tokens=0, start_segments=1))


def _panel(axes: Axes, ways: Sequence[InputSize], names: Sequence[str]) -> None:
    known: list[float] = [0.0]
    beyond: list[float] = []
    for way in ways:
        for count, interval in gains(way).items():
            inside = count <= (way.most_trained or 0)
            (known if inside else beyond).extend((interval.low, interval.high))
    (alone,) = shown_alone(ways)
    contexts = context_gains(alone)
    known += [interval.mean for interval in contexts.values()]
    axes.set_ylim(*limits(known, beyond))
    for way in ways:
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
            label=name,
            gid=name,
        )
    levels = {f"context {format_tokens(context)}": one.mean for context, one in contexts.items()}
    draw_levels(axes, {"no memory": 0.0, **levels})
    segments_axis(axes, sorted({count for way in ways for count in gains(way)} or {1, 2}))
