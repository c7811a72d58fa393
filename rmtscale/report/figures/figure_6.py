"""Figure 6 of the paper: what each position of a segment attends to; queries down, keys across."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rmtscale.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LABELS = 64


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


@style.styled
def draw(maps: Sequence[Heatmap], columns: int = 2) -> Figure:
    """A heatmap for each segment; brighter is more, on a root scale that shows small weights."""
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    side = 1.6 + 0.105 * min(max(len(one.labels) for one in maps), _MOST_LABELS)
    figure = Figure(figsize=(side * columns + 0.6, (side + 0.2) * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    image = None
    for index, axes in enumerate(grid.flat):
        if index >= len(maps):
            axes.set_visible(False)
            continue
        one = maps[index]
        image = axes.imshow(
            one.weights, cmap="viridis", norm=PowerNorm(0.5, 0, 1), interpolation="nearest"
        )
        axes.grid(False)
        axes.set_title(one.title)
        _label(axes, one)
    if image is not None:
        figure.colorbar(image, ax=grid, shrink=0.5, label="attention weight")
    return figure


def _label(axes: Any, one: Heatmap) -> None:
    count = len(one.labels)
    marked = {position for positions in one.marked for position in positions}
    memory = set(one.memory)
    shown = list(range(count))
    if count > _MOST_LABELS:
        # Too many to be read: memory, facts and the question, and every so many of the others.
        step = -(-count // _MOST_LABELS)
        shown = [at for at in shown if at in marked or at in memory or not at % step]
    texts = [one.labels[at] for at in shown]
    axes.set_xticks(shown, texts, rotation=90, fontsize=5.5)
    axes.set_yticks(shown, texts, fontsize=5.5)
    axes.tick_params(length=1.5, pad=1)
    for axis in (axes.xaxis, axes.yaxis):
        for at, text in zip(shown, axis.get_ticklabels(), strict=True):
            if at in marked:
                text.set_color(style.FULL_COLOUR)
                text.set_fontweight("bold")
            elif at in memory:
                text.set_color(style.RMT_COLOUR)
