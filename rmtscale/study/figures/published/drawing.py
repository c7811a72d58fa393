"""Predicted against published, and what a cluster of so many GPUs can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rmtscale.study.figures.published.points import Published
    from rmtscale.study.figures.published.scaling import Scaling

_MARKS = "os^Dv"
_NEAR = 0.2


@style.styled
def draw_points(points: Sequence[Published], titles: dict[str, str]) -> Figure:
    """Draws every measurement against its prediction: step times, and bytes of a GPU."""
    figure, panels = style.new_figure(2, width=11.0, height=4.8)
    for axes, kind, unit in zip(
        panels, ("time", "memory"), ("seconds of a step", "GiB of a GPU"), strict=True
    ):
        scale = 1.0 if kind == "time" else 2.0**30
        shown = [one for one in points if one.kind == kind and one.measured > 0]
        for (source, title), mark in zip(titles.items(), _MARKS, strict=True):
            mine = [one for one in shown if one.source == source]
            colour = style.SEQUENCE_COLOURS[_MARKS.index(mark)]
            if mine:
                axes.plot(
                    [one.measured / scale for one in mine],
                    [one.predicted / scale for one in mine],
                    mark, color=colour, mfc="none", ms=4.5, label=title,
                )  # fmt: skip
        values = [value / scale for one in shown for value in (one.measured, one.predicted)]
        ends = [0.8 * min(values), 1.2 * max(values)]
        axes.plot(ends, ends, "-", color=style.REFERENCE_COLOUR, linewidth=0.8)
        for factor in (1 - _NEAR, 1 + _NEAR):
            line = [factor * end for end in ends]
            axes.plot(ends, line, ":", color=style.REFERENCE_COLOUR, linewidth=0.8)
        if kind == "time":
            axes.set_xscale("log")
            style.plain_log_axis(axes)
            axes.xaxis.set_major_formatter(axes.yaxis.get_major_formatter())
        axes.set_xlabel(f"published, {unit}")
        axes.set_ylabel(f"predicted, {unit}")
        axes.legend(frameon=False, loc="upper left")
    return figure


@style.styled
def draw_scaling(rows: Sequence[Scaling]) -> Figure:
    """Draws the longest input that fits, and the seconds of a step, by the number of GPUs."""
    models = list(dict.fromkeys(row.model for row in rows))
    figure, panels = style.new_figure(2, width=11.0, height=4.8)
    for axes, field, label in zip(
        panels,
        ("longest_tokens", "seconds"),
        ("longest input that fits, tokens", "seconds of a step"),
        strict=True,
    ):
        for model in models:
            colour = style.SEQUENCE_COLOURS[models.index(model)]
            for method, line in (("full", "-"), ("rmt", "--")):
                mine = [
                    (row.gpus, getattr(row, field))
                    for row in rows
                    if row.model == model and row.method == method and getattr(row, field)
                ]
                if field == "seconds":
                    ranges = [
                        (row.gpus, row.least_seconds, row.most_seconds)
                        for row in rows
                        if row.model == model and row.method == method and row.seconds
                    ]
                    axes.fill_between(
                        *zip(*ranges, strict=True), color=colour, alpha=0.15, linewidth=0
                    )
                if mine:
                    axes.plot(*zip(*mine, strict=True), f"o{line}", color=colour, ms=4,
                              label=f"{model}, {method}")  # fmt: skip
        axes.set_xscale("log", base=2)
        style.plain_log_axis(axes)
        axes.set_xticks([row.gpus for row in rows], [str(row.gpus) for row in rows])
        axes.set_xlabel("GPUs")
        axes.set_ylabel(label)
        axes.legend(frameon=False)
    return figure
