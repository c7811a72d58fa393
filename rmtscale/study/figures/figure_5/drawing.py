"""Figure 5 of the paper: accuracy up to two million tokens, and the memory that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.study.figures.memory_tasks.axes import (
    SEED_COLOURS,
    SEED_MARKERS,
    TITLES,
    Curve,
    Points,
    accuracy_axis,
    draw_curve,
    draw_paper,
    token_axis,
)
from rmtscale.units import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@style.styled
def draw(
    ours: Mapping[str, Mapping[int, Curve]],
    paper: Mapping[str, Points],
    peaks: Mapping[int, int],
) -> Figure:
    """Draws a panel for each task, and one of measured memory.

    Args:
        ours: by task and seed.
        paper: by task; its tokens are 499 a segment.
        peaks: bytes by tokens, of one run.
    """
    from matplotlib.figure import Figure

    panels = len(ours) + bool(peaks)
    figure = Figure(figsize=(3.6 * panels, 3.7))
    grid = figure.subplots(1, panels, squeeze=False)[0]
    for index, (task, curves) in enumerate(ours.items()):
        axes = grid[index]
        for seed, curve in curves.items():
            draw_curve(
                axes,
                curve,
                SEED_COLOURS[seed % len(SEED_COLOURS)],
                marker=SEED_MARKERS[seed % len(SEED_MARKERS)],
                by_tokens=True,
                label=f"seed {seed}",
            )
        points = paper.get(task, {})
        if points:
            xs = [499 * segments for segments in points]
            draw_paper(axes, points, style.REFERENCE_COLOUR, xs, "the paper's")
        records = [record for curve in curves.values() for record in curve.values()]
        lengths = sorted({record.point.tokens for record in records})
        token_axis(axes, lengths)
        accuracy_axis(axes)
        axes.set_title(TITLES[task])
        if index:
            axes.set_ylabel("")
    grid[0].legend(frameon=False, fontsize=7.5, loc="lower left", bbox_to_anchor=(0, 0.2))
    if peaks:
        _memory_panel(grid[-1], peaks)
    return figure


def _memory_panel(axes: Axes, peaks: Mapping[int, int]) -> None:
    axes.plot(list(peaks), list(peaks.values()), "-o", color=style.RMT_COLOUR, markersize=3.5)
    token_axis(axes, list(peaks))
    unit = 2 ** (max(peaks.values()).bit_length() - 1)
    ticks = [0, unit // 2, unit, 3 * unit // 2, 2 * unit]
    axes.set_ylim(0, 2.1 * unit)
    axes.set_yticks(ticks, [format_bytes(tick, digits=2) for tick in ticks])
    axes.set_title("peak memory, measured")
