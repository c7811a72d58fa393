"""Accuracy on BABILong by length, a panel for each task and one for the average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

from rmtscale.report import style
from rmtscale.report.style import Look
from rmtscale.study.figures.babilong.published import SYSTEMS, average, published
from rmtscale.study.figures.babilong.runs import (
    DEAD_BAND,
    PLAIN,
    VARIANTS,
    Run,
    mean_accuracies,
    models,
    shown,
)
from rmtscale.study.figures.babilong.standing import answer
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.lengths import LENGTHS
from rmtscale.units import Share

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
_MARKERS = ("v", "s", "D", "^", "<", ">")
"""Marks each model in the order of the names, where it is not the one that is shown."""
_OURS = {
    PLAIN: Look(style.RMT_COLOUR, "o", "-"),
    DEAD_BAND: Look("#882255", "P", "-"),
}


@style.styled
def draw(runs: Sequence[Run]) -> Figure:
    """Draws the published systems as broken lines, ours bold with intervals, a line each variant.

    The best run of every other model is a thin line in the colour of its variant, with a marker
    of its own.
    """
    from matplotlib.figure import Figure

    best = {variant: shown(runs, variant) for variant in VARIANTS}
    figure = Figure(figsize=(11.0, 6.4))
    panels = figure.subplots(2, 3).flat
    for axes, task in zip(panels, QAS, strict=False):
        for name, tasks in published().items():
            _line(axes, tasks.get(task, {}), name)
        for model, own in _each_model(runs):
            if task in own and own[task] is not best[model.variant][task]:
                _thin(axes, own[task].shares, model)
        for own in best.values():
            if task in own:
                _ours(axes, own[task])
        if task not in best[PLAIN]:
            axes.annotate("ours: no run yet", (0.04, 0.05), xycoords="axes fraction", fontsize=8)
        _axes(axes, task)
    _draw_averages(figure.axes[-1], runs, best)
    handles: dict[str, Artist] = {}
    for axes in reversed(figure.axes):
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    said = answer(best)
    style.headline(figure, f"BABILong: {said[0].lower()}{said[1:]}")
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8,
    )
    return figure


class _Model(NamedTuple):
    """One model in one variant, and its marker."""

    name: str
    variant: str
    marker: str


def _each_model(runs: Sequence[Run]) -> Iterator[tuple[_Model, dict[str, Run]]]:
    """Yields the run by task of each model, in each variant."""
    for variant in VARIANTS:
        for name, marker in zip(models(runs), cycle(_MARKERS), strict=False):
            yield _Model(name, variant, marker), shown(runs, variant, name)


def _draw_averages(axes: Axes, runs: Sequence[Run], best: Mapping[str, Mapping[str, Run]]) -> None:
    for name, tasks in published().items():
        _line(axes, average(tasks), name)
    for model, own in _each_model(runs):
        if own != best[model.variant]:
            _thin(axes, mean_accuracies(own), model)
    for variant, chosen in best.items():
        if chosen or variant == PLAIN:
            _average(axes, chosen, variant)
    _axes(axes, "average")


def _line(axes: Axes, shares: Mapping[str, Share], name: str) -> None:
    _thin_line(axes, shares, _LOOKS[name], SYSTEMS[name], 0.9, 3)


def _thin_line(
    axes: Axes, shares: Mapping[str, Share], look: Look, label: str, width: float, size: float
) -> None:
    axes.plot(
        [_PLACES[length] for length in shares],
        [float(100 * share) for share in shares.values()],
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


def _thin(axes: Axes, shares: Mapping[str, Share], model: _Model) -> None:
    if shares:
        look = _OURS[model.variant]._replace(marker=model.marker)
        _thin_line(axes, shares, look, f"{VARIANTS[model.variant]}: {model.name}", 0.8, 3.5)


def _average(axes: Axes, best: Mapping[str, Run], variant: str) -> None:
    known = {_PLACES[length]: float(100 * mean) for length, mean in mean_accuracies(best).items()}
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
