"""Accuracy on BABILong by length, a panel for each task and one for the average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.style import Look
from rmtscale.study.figures.babilong.claims import missing
from rmtscale.study.figures.babilong.published import SYSTEMS, average, published
from rmtscale.study.figures.babilong.runs import Run
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.lengths import LENGTHS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PLACES = {length: place for place, length in enumerate(LENGTHS)}
_LOOKS = {
    "rmt": Look("#666666", "o", "--"),
    "armt": Look("#D55E00", "s", "--"),
    "mamba": Look("#117733", "^", "--"),
    "gemini": Look("#CC6677", "D", ":"),
    "llama-rag": Look("#999933", "v", ":"),
}


@style.styled
def draw(best: Mapping[str, Run]) -> Figure:
    """Draws the published systems as thin lines, ours bold with its intervals.

    Args:
        best: the run of each task that is shown.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 6.4))
    panels = figure.subplots(2, 3).flat
    for axes, task in zip(panels, QAS, strict=False):
        for name, tasks in published().items():
            _line(axes, tasks.get(task, {}), name)
        if task in best:
            _ours(axes, best[task])
        else:
            axes.annotate("ours: no run yet", (0.04, 0.05), xycoords="axes fraction", fontsize=8)
        _axes(axes, task)
    axes = figure.axes[-1]
    for name, tasks in published().items():
        _line(axes, average(tasks), name)
    _average(axes, best)
    _axes(axes, "average")
    handles, labels = axes.get_legend_handles_labels()
    style.headline(figure, _headline(best))
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _headline(best: Mapping[str, Run]) -> str:
    """Says how often ours is above the published RMT, by the middle of its interval."""
    theirs = published()["rmt"]
    both = [
        (record.accuracy, theirs[task][length])
        for task, run in best.items()
        for length, record in run.curve.items()
        if length in theirs[task]
    ]
    if not both:
        return "BABILong: no run at the lengths of the published RMT yet"
    above = sum(ours > published for ours, published in both)
    return f"BABILong: above the published RMT at {above} of the {len(both)} points that both have"


def _line(axes: Axes, shares: Mapping[str, float], name: str) -> None:
    look = _LOOKS[name]
    axes.plot(
        [_PLACES[length] for length in shares],
        [100 * share for share in shares.values()],
        look.line,
        color=look.colour,
        marker=look.marker,
        markersize=3,
        markerfacecolor="white",
        linewidth=0.9,
        label=SYSTEMS[name],
    )


def _ours(axes: Axes, run: Run) -> None:
    xs = [_PLACES[length] for length in run.curve]
    records = list(run.curve.values())
    axes.fill_between(
        xs,
        [100 * record.low for record in records],
        [100 * record.high for record in records],
        color=style.RMT_COLOUR,
        alpha=0.18,
        linewidth=0,
    )
    _bold(axes, xs, [100 * record.accuracy for record in records])


def _average(axes: Axes, best: Mapping[str, Run]) -> None:
    lengths = [length for length in LENGTHS if not missing(best, length)]
    means = [
        100 * sum(best[task].curve[length].accuracy for task in QAS) / len(QAS)
        for length in lengths
    ]
    _bold(axes, [_PLACES[length] for length in lengths], means)
    if not lengths:
        text = "ours: not all five tasks have a run yet"
        axes.annotate(text, (0.04, 0.05), xycoords="axes fraction", fontsize=8)


def _bold(axes: Axes, xs: list[int], ys: list[float]) -> None:
    axes.plot(
        xs, ys, "-", color=style.RMT_COLOUR, marker="o", markersize=4, linewidth=1.8,
        label="RMT, ours",
    )  # fmt: skip


def _axes(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_ylim(-2, 103)
    axes.set_xlim(-0.4, len(LENGTHS) - 0.6)
    axes.set_xticks(range(0, len(LENGTHS)), list(LENGTHS), rotation=45, fontsize=7.5)
    axes.set_ylabel("accuracy, %")
