"""Accuracy up to two million tokens, with a dead band on the memory and without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.study.figures.dead_band.claims import Comparisons
from rmtscale.study.figures.memory_tasks.axes import (
    TITLES,
    accuracy_axis,
    draw_curve,
    token_axis,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WAYS = (
    ("plain", style.REFERENCE_COLOUR, "--", "o"),
    ("with a dead band", style.RMT_COLOUR, "-", "s"),
)
"""Name, colour, line and marker; the seeds of one way look alike."""


@style.styled
def draw(ours: Comparisons) -> Figure:
    """A panel for each task: a solid line with the dead band, a broken one without."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(ours), 3.9))
    panels = figure.subplots(1, len(ours), squeeze=False)[0]
    for axes, (task, pairs) in zip(panels, ours.items(), strict=True):
        lengths: set[int] = set()
        for pair in pairs.values():
            for (way, colour, line, marker), curve in zip(
                _WAYS, (pair.plain, pair.held), strict=True
            ):
                if curve:
                    draw_curve(
                        axes, curve, colour, marker=marker, line=line, by_tokens=True, name=way
                    )
                    lengths |= {record.point.tokens for record in curve.values()}
        token_axis(axes, sorted(lengths))
        accuracy_axis(axes)
        seeds = f"{len(pairs)} seeds" if len(pairs) > 1 else "1 seed"
        axes.set_title(f"{TITLES[task]}, {seeds}")
        if axes is not panels[0]:
            axes.set_ylabel("")
    for way, colour, line, marker in _WAYS:
        panels[0].plot([], [], line, marker=marker, markersize=3.5, color=colour, label=way)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=8.5,
    )
    style.headline(figure, _headline(ours))
    return figure


def _headline(ours: Comparisons) -> str:
    """Says what the dead band changes on the longest input, by task."""
    said = []
    for task, pairs in ours.items():
        ends = [
            [100 * curve[max(curve)].accuracy for curve in way if curve]
            for way in (
                [pair.plain for pair in pairs.values()],
                [pair.held for pair in pairs.values()],
            )
        ]
        if all(ends):
            plain, held = (sum(some) / len(some) for some in ends)
            said.append(f"{TITLES[task]} {plain:.0f} % to {held:.0f} %")
    return f"With a dead band, right at the longest input: {', '.join(said)}"
