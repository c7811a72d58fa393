"""Accuracy up to two million tokens, with a dead band on the memory and without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.study.figures.dead_band.claims import Comparisons
from rmtscale.study.figures.memory_tasks.axes import (
    SEED_COLOURS,
    SEED_MARKERS,
    TITLES,
    accuracy_axis,
    draw_curve,
    token_axis,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.styled
def draw(ours: Comparisons) -> Figure:
    """A panel for each task: a solid line with the dead band, a broken one without."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.9 * len(ours), 3.7))
    panels = figure.subplots(1, len(ours), squeeze=False)[0]
    for axes, (task, pairs) in zip(panels, ours.items(), strict=True):
        lengths: set[int] = set()
        for seed, pair in pairs.items():
            ways = (("plain", "--", pair.plain), (f"dead band {pair.dead_band:g}", "-", pair.held))
            for way, line, curve in ways:
                if curve:
                    draw_curve(
                        axes,
                        curve,
                        SEED_COLOURS[seed % len(SEED_COLOURS)],
                        marker=SEED_MARKERS[seed % len(SEED_MARKERS)],
                        line=line,
                        by_tokens=True,
                        label=f"seed {seed}, {way}",
                    )
                    lengths |= {record.point.tokens for record in curve.values()}
        token_axis(axes, sorted(lengths))
        accuracy_axis(axes)
        axes.set_title(TITLES[task])
        axes.legend(
            frameon=False, fontsize=7.5, handlelength=4, loc="lower left", bbox_to_anchor=(0, 0.2)
        )
        if axes is not panels[0]:
            axes.set_ylabel("")
    return figure
