"""Figure 12 of the paper: a curriculum of fixed numbers of segments against one that mixes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.study.figures.language.groups import InputSize, mean_curve
from rmtscale.study.figures.language.lines import (
    bits,
    draw_baselines,
    draw_published,
    draw_runs,
    is_known,
    level_line,
    limits,
    say_cut,
    segments_axis,
)
from rmtscale.study.figures.language.published import Published
from rmtscale.study.figures.trained import trained_legend, trained_look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@style.styled
def draw(ours: Mapping[str, InputSize], paper: Mapping[str, Published], title: str = "") -> Figure:
    """Draws a column for each curriculum: ours above, the paper's below; a row has one scale.

    Args:
        ours: by curriculum.
        paper: the same; may be empty.
        title: the answer in words.
    """
    from matplotlib.figure import Figure

    rows = 2 if paper else 1
    figure = Figure(figsize=(5.0 * len(ours) + 0.4, 1.1 + 2.9 * rows))
    grid = figure.subplots(rows, len(ours), squeeze=False, sharey="row")
    counts = sorted({count for size in ours.values() for count in size.counts})
    shared = [record for size in ours.values() for record in size.records]
    height = limits(map(bits, filter(is_known, shared)), map(bits, shared))
    for column, (way, size) in enumerate(ours.items()):
        axes = grid[0][column]
        axes.set_ylim(*height)
        _ours(axes, size)
        axes.set_title(f"{way}, input {size.segment_size}")
        segments_axis(axes, counts)
        if rows == 2 and way in paper:
            _papers(grid[1][column], paper, way, size, counts)
    for row in range(rows):
        grid[row][0].set_ylabel("bits per byte")
    most = max(range(len(ours)), key=lambda at: len(list(ours.values())[at].rmt))
    trained_legend(figure, grid[0][most])
    style.headline(figure, title)
    return figure


def _ours(axes: Axes, size: InputSize) -> None:
    cut = []
    for trained, runs in size.rmt.items():
        draw_runs(axes, runs, trained_look(trained), bits, str(trained))
        if max(mean_curve(runs, bits).values(), default=0.0) > axes.get_ylim()[1]:
            cut.append(f"trained on {trained}")
    draw_baselines(axes, size.contexts, bits)
    say_cut(axes, cut)


def _papers(
    axes: Axes, paper: Mapping[str, Published], way: str, size: InputSize, counts: list[int]
) -> None:
    points = {key: _points(published, size.rmt, max(counts)) for key, published in paper.items()}
    known: list[float] = [published.baseline_bits for published in paper.values()]
    beyond: list[float] = []
    for curves in points.values():
        for trained, curve in curves.items():
            for count, value in curve.items():
                (known if count <= trained else beyond).append(value)
    axes.set_ylim(*limits(known, beyond))
    cut = []
    for trained, curve in points[way].items():
        draw_published(axes, curve, trained_look(trained), f"the paper's {trained}")
        if max(curve.values()) > axes.get_ylim()[1]:
            cut.append(f"trained on {trained}")
    level_line(axes, paper[way].baseline_bits, "no memory")
    say_cut(axes, cut)
    segments_axis(axes, counts)
    axes.set_title(f"the paper's, {way}, input {paper[way].input_size}")


def _points(
    published: Published, trained: Collection[int], longest: int
) -> dict[int, dict[int, float]]:
    return {
        trained_on: {
            count: value
            for count, value in published.curves[trained_on].items()
            if count <= longest
        }
        for trained_on in published.like(trained)
    }
