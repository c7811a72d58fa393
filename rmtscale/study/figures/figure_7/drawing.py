"""Figure 7 of the paper: loss by segments read, for models trained on few and many segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.study.figures.language.groups import (
    InputSize,
    Runs,
    mean_curve,
    mean_difference,
    mean_over_seeds,
    shared_counts,
)
from rmtscale.study.figures.language.lines import (
    bits,
    draw_baselines,
    draw_published,
    draw_runs,
    is_known,
    level_line,
    limits,
    perplexity_axis,
    say_cut,
    segments_axis,
    size_name,
)
from rmtscale.study.figures.language.published import Published
from rmtscale.study.figures.trained import trained_legend, trained_look
from rmtscale.study.records.language import LanguageRecord
from rmtscale.units import format_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Change = Mapping[int, tuple[float, float, float]]
"""Mean, low and high by segments read; shares of the baseline's loss."""


@style.styled
def draw(sizes: Sequence[InputSize], paper: Mapping[int, Published], title: str = "") -> Figure:
    """Draws for each input size the loss, its change against the own baseline, the paper's.

    Args:
        sizes: ours.
        paper: by our segment size; a size without a counterpart has none.
        title: the answer in words.
    """
    from matplotlib.figure import Figure

    rows = 3 if paper else 2
    figure = Figure(figsize=(5.2 * len(sizes) + 0.4, 1.1 + 2.75 * rows))
    grid = figure.subplots(rows, len(sizes), squeeze=False)
    counts = sorted({count for size in sizes for count in size.counts})
    for column, size in enumerate(sizes):
        name = size_name(size, sizes)
        _losses(grid[0][column], size)
        grid[0][column].set_title(f"{name}: loss")
        highest = _changes(grid[1][column], size)
        grid[1][column].set_title(f"{name}: change of the loss")
        published = paper.get(size.segment_size)
        if rows == 3:
            below = grid[2][column]
            if published is None:
                below.set_visible(False)
            else:
                _published(below, published, size, grid[1][column])
        _say_what_left(grid[1][column], highest)
        for row in range(rows):
            segments_axis(grid[row][column], counts)
    most = max(range(len(sizes)), key=lambda at: len(sizes[at].rmt))
    trained_legend(figure, grid[0][most])
    style.headline(figure, title)
    return figure


def change(runs: Runs, own: Mapping[int, LanguageRecord]) -> Change:
    """Loss less that of the memoryless baseline, over the baseline's; paired by document."""
    changes = {}
    own = {seed: record for seed, record in own.items() if seed in runs}
    for count in shared_counts(runs):
        read = {seed: curve[count] for seed, curve in runs.items()}
        interval = mean_difference(read, own)
        if interval is not None:
            loss = mean_over_seeds(own, lambda record: record.whole.bits_per_byte)
            changes[count] = (interval.mean / loss, interval.low / loss, interval.high / loss)
    return changes


def _losses(axes: Axes, size: InputSize) -> None:
    known = [bits(record) for record in size.with_memory if is_known(record)]
    known += [mean_over_seeds(records, bits) for records in size.contexts.values()]
    axes.set_ylim(*limits(known, map(bits, size.with_memory)))
    cut = []
    for trained, runs in size.rmt.items():
        draw_runs(axes, runs, trained_look(trained), bits, str(trained))
        worst = max(mean_curve(runs, bits).values(), default=0.0)
        if worst > axes.get_ylim()[1]:
            cut.append(f"trained on {trained}")
    draw_baselines(axes, size.contexts, bits)
    say_cut(axes, cut)
    axes.set_ylabel("bits per byte")
    perplexity_axis(axes, size.records[0])


def _changes(axes: Axes, size: InputSize) -> dict[int, float]:
    """Draws the changes; returns the highest mean of each training, in percent."""
    changes = {trained: change(runs, size.own) for trained, runs in size.rmt.items()}
    known: list[float] = [0.0]
    beyond: list[float] = []
    for trained, points in changes.items():
        for count, (_, low, high) in points.items():
            (known if count <= trained else beyond).extend((100 * low, 100 * high))
    axes.set_ylim(*limits(known, beyond))
    highest = {}
    for trained, points in changes.items():
        look = trained_look(trained)
        xs, means = list(points), [100 * mean for mean, _, _ in points.values()]
        axes.fill_between(
            xs,
            [100 * low for _, low, _ in points.values()],
            [100 * high for _, _, high in points.values()],
            color=look.colour,
            alpha=0.18,
            linewidth=0,
        )
        axes.plot(
            xs, means, color=look.colour, marker=look.marker, markersize=3.5, gid=str(trained)
        )
        if means:
            highest[trained] = max(means)
    _zero(axes)
    return highest


def _say_what_left(axes: Axes, highest: Mapping[int, float]) -> None:
    """Names what left the panel, once the paper's panel below has set the same limits."""
    top = axes.get_ylim()[1]
    cut = {trained: most / 100 for trained, most in highest.items() if most > top}
    say_cut(
        axes,
        [
            f"trained on {trained} ({format_percent(most, signed=True)})"
            for trained, most in cut.items()
        ],
    )


def _published(axes: Axes, published: Published, size: InputSize, above: Axes) -> None:
    for trained in published.like(size.rmt):
        points = {
            count: 100 * share
            for count, share in published.changes(trained).items()
            if count <= max(size.counts)
        }
        draw_published(axes, points, trained_look(trained), f"the paper's {trained}")
    axes.set_title(f"the paper's at input {published.input_size}")
    low, high = zip(axes.get_ylim(), above.get_ylim(), strict=True)
    for panel in (axes, above):
        panel.set_ylim(min(low), max(high))
    _zero(axes)


def _zero(axes: Axes) -> None:
    level_line(axes, 0.0, "without memory")
    axes.set_ylabel("change of the loss, %")
