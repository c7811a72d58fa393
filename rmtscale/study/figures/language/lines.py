"""Parts language drawings share: lines of seeds, baselines, perplexity beside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.colours import ink
from rmtscale.report.names import spread
from rmtscale.report.style import Look
from rmtscale.study.figures.language.groups import (
    InputSize,
    Runs,
    Value,
    mean_curve,
    mean_over_seeds,
)
from rmtscale.study.records.language import LanguageRecord
from rmtscale.units import (
    format_memory_tokens,
    format_perplexity,
    format_repeats,
    format_start_segments,
    format_tokens,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES_ROOM = 0.28
"""Share of a panel's width, left of one segment, for the names of the baselines."""
_NAME_SHARE = 0.085
"""Share of a panel's height that a name takes."""


def bits(record: LanguageRecord) -> float:
    """Returns the bits per byte of all scored tokens."""
    return record.whole.bits_per_byte


def size_name(size: InputSize, among: Sequence[InputSize]) -> str:
    """Writes ``input 128``, and of backbone, memory and training what several differ in."""
    words = [f"input {size.segment_size}"]
    if len({other.backbone for other in among}) > 1:
        words.append(size.backbone)
    if len({(other.memory_tokens, other.sink_tokens) for other in among}) > 1:
        words.append(format_memory_tokens(size.memory_tokens, size.sink_tokens))
    if len({other.trained_weights for other in among}) > 1:
        words.append(size.trained_weights)
    start = format_start_segments(size.start_segments)
    return ", ".join(words) + start + format_repeats(size.repeat_share, size.repeat_until)


def context_name(tokens: int) -> str:
    """Writes what a baseline sees."""
    return f"no memory, context {format_tokens(tokens)}"


def draw_runs(axes: Axes, runs: Runs, look: Look, value: Value, label: str | None = None) -> None:
    """Draws the mean over seeds with markers, and each seed as a thin line."""
    for curve in runs.values():
        points = {count: value(record) for count, record in curve.items()}
        axes.plot(*_columns(points), look.line, color=look.colour, linewidth=0.6, alpha=0.45)
    axes.plot(
        *_columns(mean_curve(runs, value)),
        look.line,
        color=look.colour,
        marker=look.marker,
        markersize=3.5,
        label=label,
        gid=label,
    )


def draw_published(axes: Axes, points: Mapping[int, float], look: Look, name: str) -> None:
    """Draws the paper's points, open, on a thin broken line."""
    axes.plot(
        *_columns(points),
        "--",
        color=look.colour,
        linewidth=0.9,
        marker=look.marker,
        markersize=3.5,
        markerfacecolor="white",
        markeredgewidth=0.9,
        gid=name,
    )


def draw_baselines(
    axes: Axes, contexts: Mapping[int, Mapping[int, LanguageRecord]], value: Value
) -> None:
    """Draws level lines, named in the room on the left; the limits of the axes must be set."""
    draw_levels(
        axes,
        {
            f"context {format_tokens(context)}": mean_over_seeds(contexts[context], value)
            for context in sorted(contexts)
        },
    )


def draw_levels(axes: Axes, heights: Mapping[str, float]) -> None:
    """Draws a level line for each name, the first one solid; names keep apart from each other."""
    low, high = axes.get_ylim()
    shown = sorted(
        ((y, name) for name, y in heights.items() if low <= y <= high), key=lambda one: one[0]
    )
    places = spread([(y - low) / (high - low) for y, _ in shown], _NAME_SHARE)
    for (y, name), place in zip(shown, places, strict=True):
        _level(axes, y, solid=name == next(iter(heights)))
        axes.annotate(
            name,
            (NAMES_ROOM, y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(NAMES_ROOM - 0.035, place),
            textcoords="axes fraction",
            ha="right",
            va="center",
            fontsize=8,
            color=ink(style.FULL_COLOUR),
            arrowprops={
                "arrowstyle": "-",
                "color": style.FULL_COLOUR,
                "linewidth": 0.6,
                "relpos": (1.0, 0.5),
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )


def level_line(axes: Axes, y: float, name: str) -> None:
    """Draws one level line, named in the room on the left."""
    _level(axes, y, solid=True)
    axes.annotate(
        name,
        (NAMES_ROOM, y),
        xycoords=axes.get_yaxis_transform(),
        xytext=(-4, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8,
        color=ink(style.FULL_COLOUR),
    )


def _level(axes: Axes, y: float, *, solid: bool) -> None:
    """The line begins where its name ends."""
    axes.axhline(
        y,
        xmin=NAMES_ROOM,
        color=style.FULL_COLOUR,
        linewidth=1.0,
        linestyle="-" if solid else (0, (4, 1.5)),
        zorder=1.5,
    )


def segments_axis(axes: Axes, counts: Sequence[int], *, room: float = NAMES_ROOM) -> None:
    """Sets a log axis of segments read, ticked at powers of two, with room for names."""
    first, last = math.log2(min(counts)), math.log2(max(counts))
    span = max(last - first, 1.0)
    powers = (2**power for power in range(max(counts).bit_length()))
    ticks = [power for power in powers if power >= min(counts)] or [max(counts)]
    axes.set_xscale("log", base=2)
    left = (span * (room + 0.03)) / (1 - room - 0.06)
    axes.set_xlim(2 ** (first - left), 2 ** (last + 0.04 * span))
    axes.set_xticks(ticks, [format_tokens(count) for count in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("segments read")


def limits(known: Iterable[float], beyond: Iterable[float] = ()) -> tuple[float, float]:
    """Computes limits that hold all of ``known``, and of ``beyond`` what is not far above it.

    Args:
        known: baselines, and models read at lengths they were trained on.
        beyond: models read at more; one that breaks down does not press all others flat.
    """
    inside = [value for value in known if math.isfinite(value)]
    outside = [value for value in beyond if math.isfinite(value)]
    low, high = min(inside + outside), max(inside)
    high = max([high, *(min(value, high + 0.3 * (high - low)) for value in outside)])
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    return low - margin, high + margin


def is_known(record: LanguageRecord) -> bool:
    """Tells whether it was read at a length that it was trained on."""
    return record.point.segments <= record.model.trained_segments


def say_cut(axes: Axes, cut: Sequence[str]) -> None:
    """Writes what left the panel at its top, in the room for names."""
    if cut:
        axes.annotate(
            f"off the top: {', '.join(cut)}",
            (0.01, 0.03),  # at the bottom: at the top it would lie on the curves that left
            xycoords="axes fraction",
            ha="left",
            va="bottom",
            fontsize=8,
            color=style.REFERENCE_COLOUR,
        )


def perplexity_axis(axes: Axes, record: LanguageRecord) -> None:
    """Sets perplexity beside bits per byte: on the same targets one factor lies between them."""
    whole = record.whole
    factor = math.log(2) * sum(whole.text_bytes) / whole.total_tokens

    def perplexity(value: float) -> str:
        return format_perplexity(math.exp(min(factor * value, 700.0)))

    right = axes.secondary_yaxis("right")
    right.yaxis.set_major_formatter(lambda value, _: perplexity(value))
    right.set_ylabel("perplexity of a token", color=style.REFERENCE_COLOUR)
    right.tick_params(colors=style.REFERENCE_COLOUR, labelsize=8)


def _columns(points: Mapping[int, float]) -> tuple[list[int], list[float]]:
    return list(points), list(points.values())
