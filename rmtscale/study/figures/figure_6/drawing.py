"""Figure 6 of the paper: what each position of a segment attends to; queries down, keys across."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from rmtscale.report import style
from rmtscale.report.colours import ink

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_POSITIONS = 64
_TOGETHER = 32
"""Positions in one cell, where there are more than can be told apart."""


class Heatmap(NamedTuple):
    """One segment."""

    title: str
    labels: Sequence[str]
    weights: Any
    """(T, T), a row for each query."""
    marked: Sequence[range] = ()
    """Positions of facts and of the question."""
    memory: Sequence[int] = ()
    """Positions of memory."""
    special: Sequence[int] = ()
    """Positions of [CLS] and [SEP], which are no text: attention rests on them."""


@style.styled
def draw(maps: Sequence[Heatmap], answer: str = "", columns: int = 2) -> Figure:
    """Draws a heatmap for each segment; brighter is more, on a root scale for small weights.

    In a long segment stretches of other text are one cell each: a query's row is the mean of
    theirs, a key's column the sum, so that rows still sum to 1.

    Args:
        maps: the segments, in their order.
        answer: what stands over all of them.
        columns: segments side by side.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    maps = [condensed(heatmap) for heatmap in maps]
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    most = max(len(heatmap.labels) for heatmap in maps)
    side = 1.6 + _label_points(most) * 0.0175 * most
    figure = Figure(figsize=(side * columns + 0.6, (side + 0.2) * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    image = None
    for index, axes in enumerate(grid.flat):
        if index >= len(maps):
            axes.set_visible(False)
            continue
        heatmap = maps[index]
        image = axes.imshow(
            heatmap.weights, cmap="viridis", norm=PowerNorm(0.5, 0, 1), interpolation="nearest"
        )
        axes.grid(False)
        axes.set_title(heatmap.title)
        _label(axes, heatmap)
    if answer:
        style.headline(figure, answer)
    if image is not None:
        figure.colorbar(image, ax=grid, shrink=0.5, label="attention weight")
    return figure


def condensed(heatmap: Heatmap) -> Heatmap:
    """Puts stretches of other text together, where there are too many positions."""
    import numpy as np

    count = len(heatmap.labels)
    if count <= _MOST_POSITIONS:
        return heatmap
    alone = {at for positions in heatmap.marked for at in positions}
    alone |= {*heatmap.memory, *heatmap.special}
    cells: list[range] = []
    for own, run in groupby(range(count), key=alone.__contains__):
        stretch = list(run)
        step = 1 if own else _TOGETHER
        first, last = stretch[0], stretch[-1] + 1
        cells += [range(at, min(at + step, last)) for at in range(first, last, step)]
    starts = [cell.start for cell in cells]
    sums = np.add.reduceat(np.add.reduceat(heatmap.weights, starts, axis=1), starts, axis=0)
    means = sums / np.array([len(cell) for cell in cells])[:, None]
    where = {at: index for index, cell in enumerate(cells) for at in cell}
    labels = [heatmap.labels[c.start] if len(c) == 1 else f"{len(c)} tokens" for c in cells]
    marked = [range(where[run.start], where[run[-1]] + 1) for run in heatmap.marked if run]
    memory, special = ([where[at] for at in own] for own in (heatmap.memory, heatmap.special))
    return Heatmap(heatmap.title, labels, means, marked, memory, special)


def _label_points(count: int) -> float:
    """The size of a label, so that it can be read and does not touch its neighbour."""
    return 8.0 if count <= 24 else 6.5


def _label(axes: Any, heatmap: Heatmap) -> None:
    count = len(heatmap.labels)
    marked = {position for positions in heatmap.marked for position in positions}
    memory = set(heatmap.memory)
    axes.set_xticks(range(count), heatmap.labels, rotation=90, fontsize=_label_points(count))
    axes.set_yticks(range(count), heatmap.labels, fontsize=_label_points(count))
    axes.tick_params(length=1.5, pad=1)
    for axis in (axes.xaxis, axes.yaxis):
        for at, text in enumerate(axis.get_ticklabels()):
            if at in marked:
                text.set_color(ink(style.FULL_COLOUR))
                text.set_fontweight("bold")
            elif at in memory:
                text.set_color(style.RMT_COLOUR)
