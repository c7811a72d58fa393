"""Predicted against published, and what a cluster of so many GPUs can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.units import format_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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
                    mark, color=colour, mfc="none", ms=4.5, label=title, gid=title,
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
        axes.set_title("time of a step" if kind == "time" else "memory of a GPU")
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=min(len(handles), 5),
        frameon=False,
        fontsize=8.5,
    )
    near = {
        kind: sum(
            abs(one.error) <= _NEAR for one in points if one.kind == kind and one.measured > 0
        )
        / sum(one.kind == kind and one.measured > 0 for one in points)
        for kind in ("time", "memory")
    }
    style.headline(
        figure,
        f"Within {format_percent(_NEAR)} of what was published: {format_percent(near['time'])} of "
        f"the step times, {format_percent(near['memory'])} of the memory readings",
    )
    return figure


@style.styled
def draw_scaling(rows: Sequence[Scaling]) -> Figure:
    """Draws by the number of GPUs the longest input that fits and the step, a column a model."""
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(row.model for row in rows))
    figure = Figure(figsize=(3.7 * len(models), 6.4))
    grid = figure.subplots(2, len(models), squeeze=False, sharey="row", sharex=True)
    for column, model in enumerate(models):
        for axes, field, label in zip(
            (grid[0][column], grid[1][column]),
            ("longest_tokens", "seconds"),
            ("longest input that fits, tokens", "seconds of a step"),
            strict=True,
        ):
            for method, line, marker in (("full", "-", "o"), ("rmt", "--", "s")):
                mine = [
                    row
                    for row in rows
                    if row.model == model and row.method == method and getattr(row, field)
                ]
                if mine:
                    _draw_method(axes, mine, field, method, f"{marker}{line}")
            axes.set_xscale("log", base=2)
            style.plain_log_axis(axes)
            gpus = sorted({row.gpus for row in rows})
            axes.set_xticks(gpus, [str(count) for count in gpus])
            axes.set_xticks([], minor=True)
            if not column:
                axes.set_ylabel(label)
        grid[0][column].set_title(model)
        grid[1][column].set_xlabel("GPUs")
    figure.legend(
        *grid[0][0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=8.5,
    )
    style.headline(figure, _scaling_words(rows))
    return figure


def _draw_method(axes: Axes, rows: Sequence[Scaling], field: str, method: str, look: str) -> None:
    colour, gpus = style.METHOD_COLOURS[method], [row.gpus for row in rows]
    if field == "seconds":
        axes.fill_between(
            gpus,
            [row.least_seconds for row in rows],
            [row.most_seconds for row in rows],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
    label = "full attention" if method == "full" else "RMT"
    values = [getattr(row, field) for row in rows]
    axes.plot(gpus, values, look, color=colour, ms=4, label=label, gid=label)


def _scaling_words(rows: Sequence[Scaling]) -> str:
    """Says with how many GPUs the step of full attention is the shorter one."""
    seconds = {(row.model, row.gpus, row.method): row.seconds for row in rows if row.seconds}
    both = [key for key in seconds if key[2] == "full" and (*key[:2], "rmt") in seconds]
    won = sorted({key[1] for key in both if seconds[key] < seconds[*key[:2], "rmt"]})
    if not won:
        return (
            "With as many GPUs, the step of RMT is shorter than that of full attention everywhere"
        )
    lost = sorted({key[1] for key in both} - set(won))
    words = f"From {won[0]:,} GPUs on the step of full attention can be the shorter one"
    return f"{words}; with {', '.join(map(str, lost))} RMT's is" if lost else words
