"""Parts of drawings that the memory tasks share: an accuracy axis, bands of intervals, chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.units import format_count, format_score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHANCE = 1 / 6
"""Six places to choose from."""
TITLES = {
    "memorize": "Memorize",
    "detect-memorize": "Detect & Memorize",
    "reasoning": "Reasoning",
}
SEED_COLOURS = (style.RMT_COLOUR, "#E69F00", "#117733", "#882255", "#56B4E9")
SEED_MARKERS = "osD^v"
Curve = Mapping[int, EvaluationRecord]
"""Records by number of segments."""
Points = Mapping[int, float]
"""Accuracies of the paper, as shares, by number of segments."""


def right_share(records: Iterable[EvaluationRecord]) -> str:
    """Writes the lowest and the highest accuracy, once where they are alike: ``68.5 to 73 %``."""
    return f"{share_range(record.accuracy for record in records)}\N{NO-BREAK SPACE}%"


def share_range(shares: Iterable[float]) -> str:
    """Writes the lowest and the highest of some shares in percent, without its sign: ``68.5 to
    73``."""
    ordered = sorted(shares)
    low, high = (format_score(share).removesuffix(".0") for share in (ordered[0], ordered[-1]))
    return low if low == high else f"{low} to {high}"


def accuracy_axis(axes: Axes) -> None:
    """Sets an axis from 0 to 100 %, with chance."""
    axes.set_ylim(-2, 103)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("accuracy, %")
    axes.axhline(100 * CHANCE, color=style.REFERENCE_COLOUR, linewidth=0.8, linestyle=":")
    axes.annotate(
        "chance",
        (1.0, 100 * CHANCE),
        xycoords=axes.get_yaxis_transform(),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=style.REFERENCE_COLOUR,
        annotation_clip=False,
    )


def draw_curve(
    axes: Axes,
    curve: Curve,
    colour: str,
    *,
    marker: str = "o",
    line: str = "-",
    by_tokens: bool = False,
    label: str | None = None,
    name: str | None = None,
) -> None:
    """Draws one line with its 95 % intervals as a band.

    Args:
        axes: the panel.
        curve: what is drawn.
        colour: of line, markers and band.
        marker: of the points.
        line: its style.
        by_tokens: against tokens in place of segments.
        label: its words in the legend.
        name: of the series that it belongs to, where that is not its label.
    """
    xs = [record.point.tokens if by_tokens else count for count, record in curve.items()]
    axes.fill_between(
        xs,
        [100 * record.low for record in curve.values()],
        [100 * record.high for record in curve.values()],
        color=colour,
        alpha=0.18,
        linewidth=0,
    )
    axes.plot(
        xs,
        [100 * record.accuracy for record in curve.values()],
        line,
        color=colour,
        marker=marker,
        markersize=3.5,
        label=label,
        gid=name or label,
    )


def draw_paper(
    axes: Axes,
    points: Points,
    colour: str,
    xs: list[int],
    label: str | None,
    *,
    marker: str = "o",
    name: str | None = None,
) -> None:
    """Draws the paper's points, open, on a thin broken line."""
    axes.plot(
        xs,
        [100 * share for share in points.values()],
        "--",
        color=colour,
        linewidth=0.9,
        marker=marker,
        markersize=3.5,
        markerfacecolor="white",
        markeredgewidth=0.9,
        label=label,
        gid=name or label,
    )


def segment_axis(axes: Axes, counts: list[int]) -> None:
    """Sets an axis of whole numbers of segments."""
    axes.set_xticks(counts[:: -(-len(counts) // 8)])
    axes.set_xlabel("segments read")


def token_axis(axes: Axes, lengths: Sequence[int]) -> None:
    """Sets a log axis ticked at lengths that were read, fewer where their names would touch."""
    span = math.log(max(lengths) / min(lengths)) or 1.0
    ticks: list[int] = []
    for tokens in sorted(lengths, reverse=True):
        if not ticks or math.log(ticks[-1] / tokens) > span / 4:
            ticks.append(tokens)
    axes.set_xscale("log")
    axes.set_xlim(min(lengths) * 0.8, max(lengths) * 1.25)
    axes.set_xticks(ticks, [format_count(tokens, digits=3) for tokens in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("input length, tokens")
