"""Accuracy on BABILong by length, a panel for each task and one for the average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.style import Look
from rmtscale.study.figures.babilong.published import SYSTEMS, average, published
from rmtscale.study.figures.babilong.runs import (
    DEAD_BAND,
    PLAIN,
    VARIANTS,
    Run,
    backbones,
    mean_accuracy,
    shown,
)
from rmtscale.study.figures.babilong.standing import standing
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.lengths import LENGTHS

if TYPE_CHECKING:
    from matplotlib.artist import Artist
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
_OURS = {
    PLAIN: Look(style.RMT_COLOUR, "o", "-"),
    DEAD_BAND: Look("#882255", "P", "-"),
}


@style.styled
def draw(runs: Sequence[Run]) -> Figure:
    """Draws the published systems as broken lines, ours bold with intervals, a line each variant.

    The best run of every other backbone is a thin line in the colour of its variant.
    """
    from matplotlib.figure import Figure

    best = {variant: shown(runs, variant) for variant in VARIANTS}
    figure = Figure(figsize=(11.0, 6.4))
    panels = figure.subplots(2, 3).flat
    for axes, task in zip(panels, QAS, strict=False):
        for name, tasks in published().items():
            _line(axes, tasks.get(task, {}), name)
        for variant, own in best.items():
            for backbone in backbones(runs):
                other = shown(runs, variant, backbone).get(task)
                if other is not None and other is not own[task]:
                    _thin(axes, other)
            if task in own:
                _ours(axes, own[task])
        if task not in best[PLAIN]:
            axes.annotate("ours: no run yet", (0.04, 0.05), xycoords="axes fraction", fontsize=8)
        _axes(axes, task)
    axes = figure.axes[-1]
    for name, tasks in published().items():
        _line(axes, average(tasks), name)
    for variant, own in best.items():
        if own or variant == PLAIN:
            _average(axes, own, variant)
    _axes(axes, "average")
    handles: dict[str, Artist] = {}
    for axes in reversed(figure.axes):
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    style.headline(figure, _headline(best))
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8,
    )
    return figure


def _headline(best: Mapping[str, Mapping[str, Run]]) -> str:
    """Counts the points ahead of the published RMT, as the claims do."""
    plain, held = (standing(best[variant], "rmt") for variant in (PLAIN, DEAD_BAND))
    if not plain.read:
        return "BABILong: no run at the lengths of the published RMT yet"
    text = (
        f"BABILong, beside the published RMT: ahead at {plain.ahead} points, level at "
        f"{plain.level}, behind at {plain.behind}"
    )
    if not held.read:
        return text
    return f"{text}; with a dead band at {held.ahead}, {held.level}, {held.behind}"


def _line(axes: Axes, shares: Mapping[str, float], name: str) -> None:
    _thin_line(axes, shares, _LOOKS[name], SYSTEMS[name], 0.9, 3)


def _thin_line(
    axes: Axes, shares: Mapping[str, float], look: Look, label: str, width: float, size: float
) -> None:
    axes.plot(
        [_PLACES[length] for length in shares],
        [100 * share for share in shares.values()],
        look.line,
        color=look.colour,
        marker=look.marker,
        markersize=size,
        markerfacecolor="white",
        linewidth=width,
        label=label,
    )


def _ours(axes: Axes, run: Run) -> None:
    xs = [_PLACES[length] for length in run.curve]
    records = list(run.curve.values())
    axes.fill_between(
        xs,
        [100 * record.low for record in records],
        [100 * record.high for record in records],
        color=_OURS[run.variant].colour,
        alpha=0.18,
        linewidth=0,
    )
    _bold(axes, xs, [100 * record.accuracy for record in records], run.variant)


def _thin(axes: Axes, run: Run) -> None:
    label = f"{VARIANTS[run.variant]}, another backbone"
    _thin_line(axes, run.shares, _OURS[run.variant], label, 0.8, 2.5)


def _average(axes: Axes, best: Mapping[str, Run], variant: str) -> None:
    means = {length: mean_accuracy(best, length) for length in LENGTHS}
    known = {_PLACES[length]: 100 * mean for length, mean in means.items() if mean is not None}
    _bold(axes, list(known), list(known.values()), variant)
    if not known and variant == PLAIN:
        text = "ours: not all five tasks have a run yet"
        axes.annotate(text, (0.04, 0.05), xycoords="axes fraction", fontsize=8)


def _bold(axes: Axes, xs: list[int], ys: list[float], variant: str) -> None:
    look = _OURS[variant]
    axes.plot(
        xs, ys, look.line, color=look.colour, marker=look.marker, markersize=4, linewidth=1.8,
        label=VARIANTS[variant],
    )  # fmt: skip


def _axes(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_ylim(-2, 103)
    axes.set_xlim(-0.4, len(LENGTHS) - 0.6)
    axes.set_xticks(range(0, len(LENGTHS)), list(LENGTHS), rotation=45, fontsize=7.5)
    axes.set_ylabel("accuracy, %")
