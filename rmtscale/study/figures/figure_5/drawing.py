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
from rmtscale.units import format_bytes, format_count

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
    columns = min(panels, 2)
    rows = -(-panels // columns)
    figure = Figure(figsize=(4.6 * columns, 0.9 + 2.6 * rows))
    cells = figure.add_gridspec(rows, columns)
    grid = [
        figure.add_subplot(
            cells[at // columns, :]
            if at == panels - 1 and not at % columns
            else cells[divmod(at, columns)]
        )
        for at in range(panels)
    ]
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
        if index % columns:
            axes.set_ylabel("")
    if peaks:
        _memory_panel(grid[-1], peaks)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(labels),
        frameon=False,
        fontsize=8.5,
    )
    style.headline(figure, _headline(ours))
    return figure


def _headline(ours: Mapping[str, Mapping[int, Curve]]) -> str:
    """Says what is right at the longest input, by task."""
    longest, said = 0, []
    for task, curves in ours.items():
        ends = [curve[max(curve)] for curve in curves.values() if curve]
        longest = max([longest, *(end.point.tokens for end in ends)])
        low, high = (choose(100 * end.accuracy for end in ends) for choose in (min, max))
        spread = f"{low:.0f}" if f"{low:.0f}" == f"{high:.0f}" else f"{low:.0f} to {high:.0f}"
        said.append(f"{TITLES[task]} {spread} %")
    return f"Right after {format_count(longest, digits=3)} tokens: {', '.join(said)}"


def _memory_panel(axes: Axes, peaks: Mapping[int, int]) -> None:
    axes.plot(list(peaks), list(peaks.values()), "-o", color=style.RMT_COLOUR, markersize=3.5)
    token_axis(axes, list(peaks))
    unit = 2 ** (max(peaks.values()).bit_length() - 1)
    ticks = [0, unit // 2, unit, 3 * unit // 2, 2 * unit]
    axes.set_ylim(0, 2.1 * unit)
    axes.set_yticks(ticks, [format_bytes(tick, digits=2) for tick in ticks])
    axes.set_title("peak memory, measured")
