"""Loss against what it costs: forward FLOPs and measured time for each token scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rmtscale.report import style
from rmtscale.report.colours import ink
from rmtscale.study.figures.language.groups import InputSize, mean_over_seeds
from rmtscale.study.figures.language.lines import size_name
from rmtscale.study.records.language import LanguageRecord
from rmtscale.units import format_flops, format_seconds, format_tokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("no memory", "memory, read anew", "memory, state carried on")
COMPILED = "compiled"
"""Name of the rings around times of compiled segments."""
MIXED = "not all was compiled, so that times differ by that too"
_LOOKS = {
    KINDS[0]: (style.FULL_COLOUR, "o", style.FULL_COLOUR, "no memory (tokens of context)"),
    KINDS[1]: (style.RMT_COLOUR, "D", style.RMT_COLOUR, "memory (segments read)"),
    KINDS[2]: (style.RMT_COLOUR, "D", "white", "the same in a stream: one segment a block"),
}
"""Colour, marker, its face, and what the numbers beside the points count."""
_NAME_PLACES = {KINDS[0]: (-6, 2, "right"), KINDS[1]: (6, 4, "left"), KINDS[2]: (-6, -8, "right")}
"""Where a number stands, in points: a frontier comes from above and leaves to the right."""


class Choice(NamedTuple):
    """One way of reading, mean over seeds."""

    kind: str
    size: int
    """Tokens of context, or segments read."""
    bits_per_byte: float
    flops: float
    """Forward, for each token scored."""
    seconds: float
    """Measured, for each token scored."""
    compiled_seeds: tuple[bool, ...] = ()
    """Whether full segments were compiled while it was measured, of each seed."""

    @property
    def compiled(self) -> bool:
        """Tells whether full segments were compiled on every seed."""
        return bool(self.compiled_seeds) and all(self.compiled_seeds)


def choices(size: InputSize) -> list[Choice]:
    """Lists baselines by context, and the longest training with memory by segments read.

    In a stream the history was read when it came, and its state is at hand: then a block costs
    one segment, whatever the memory holds. That is the third kind.
    """

    def choice(kind: str, count: int, records: dict[int, LanguageRecord]) -> Choice:
        return Choice(
            kind,
            count,
            mean_over_seeds(records, lambda record: record.whole.bits_per_byte),
            mean_over_seeds(records, lambda record: record.flops_per_token),
            mean_over_seeds(records, lambda record: record.seconds_per_token),
            tuple(bool(record.point.compile_step) for record in records.values()),
        )

    ways = [choice(KINDS[0], context, dict(by_seed)) for context, by_seed in size.contexts.items()]
    if size.most_trained is None:
        return ways
    runs = size.rmt[size.most_trained]
    for count in size.counts:
        records = {seed: curve[count] for seed, curve in runs.items() if count in curve}
        if records and count <= size.most_trained:
            ways.append(choice(KINDS[1], count, records))
    read = [way for way in ways if way.kind == KINDS[1]]
    first = next((way for way in read if way.size == 1), None)
    if first is not None:
        ways += [
            first._replace(kind=KINDS[2], size=way.size, bits_per_byte=way.bits_per_byte)
            for way in read
            if way.size > 1
        ]
    return ways


def mixes_compiled(ways: Sequence[Choice]) -> bool:
    """Tells whether some times are of compiled segments and others not."""
    return len({compiled for way in ways for compiled in way.compiled_seeds}) > 1


def frontier(ways: Sequence[Choice], cost: str) -> list[Choice]:
    """Picks those that no other beats in loss at the same or a lower cost; cheapest first.

    Args:
        found: to choose from.
        cost: ``flops`` or ``seconds``.
    """
    best: list[Choice] = []
    for way in sorted(ways, key=lambda choice: (getattr(choice, cost), choice.bits_per_byte)):
        if not best or way.bits_per_byte < best[-1].bits_per_byte:
            best.append(way)
    return best


@style.styled
def draw(sizes: Sequence[InputSize], title: str = "") -> Figure:
    """Draws a row for each input size: against FLOPs on the left, seconds on the right.

    Args:
        sizes: ours.
        title: the answer in words.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.6, 1.0 + 3.9 * len(sizes)))
    grid = figure.subplots(len(sizes), 2, squeeze=False, sharey="row")
    for row, size in enumerate(sizes):
        ways = choices(size)
        for axes, cost, words in (
            (grid[row][0], "flops", "forward FLOPs for each token scored"),
            (grid[row][1], "seconds", "measured time for each token scored"),
        ):
            _draw_points(axes, ways, cost)
            _draw_frontiers(axes, ways, cost)
            axes.set_xlabel(words)
            name = f"{size_name(size, sizes)}: {'FLOPs' if cost == 'flops' else 'time'}"
            mixed = cost == "seconds" and mixes_compiled(ways)
            style.entitle(axes, name, MIXED if mixed else "")
            if mixed:
                _ring_compiled(axes, ways)
            _cost_axis(axes, ways, cost)
        grid[row][0].set_ylabel("bits per byte")
    known: dict[str, Any] = {}
    for axes in grid.flat:
        handles, labels = axes.get_legend_handles_labels()
        known |= dict(zip(labels, handles, strict=True))
    figure.legend(
        known.values(), known, loc="outside lower center", ncols=3, frameon=False, fontsize=8.5
    )
    style.headline(figure, title)
    return figure


def _draw_points(axes: Axes, ways: Sequence[Choice], cost: str) -> None:
    for kind, (colour, marker, face, words) in _LOOKS.items():
        own = [way for way in ways if way.kind == kind]
        axes.plot(
            [getattr(way, cost) for way in own],
            [way.bits_per_byte for way in own],
            marker,
            color=colour,
            markerfacecolor=face,
            markersize=5,
            label=words,
            gid=kind,
        )
    losses = [way.bits_per_byte for way in ways]
    costs = [math.log(getattr(way, cost)) for way in ways]
    for kind, (colour, _, _, _) in _LOOKS.items():
        x, y, align = _NAME_PLACES[kind]
        for way in _apart([way for way in ways if way.kind == kind], cost, losses, costs):
            axes.annotate(
                format_tokens(way.size),
                (getattr(way, cost), way.bits_per_byte),
                xytext=(x, y),
                textcoords="offset points",
                ha=align,
                fontsize=8.5,
                color=ink(colour),
            )


def _ring_compiled(axes: Axes, ways: Sequence[Choice]) -> None:
    """Draws a ring around each time that is of compiled segments."""
    rung = [way for way in ways if way.compiled]
    axes.plot(
        [way.seconds for way in rung],
        [way.bits_per_byte for way in rung],
        "o",
        color=style.REFERENCE_COLOUR,
        markerfacecolor="none",
        markersize=10,
        label=COMPILED,
        gid=COMPILED,
    )


def _draw_frontiers(axes: Axes, ways: Sequence[Choice], cost: str) -> None:
    """Draws the frontier of all, thick and light, and of those that read everything anew."""
    anew = [way for way in ways if way.kind != KINDS[2]]
    for some, line, label in (
        (ways, "-", "frontier, in a stream"),
        (anew, ":", "frontier, everything read anew"),
    ):
        best = frontier(some, cost)
        axes.plot(
            [getattr(way, cost) for way in best],
            [way.bits_per_byte for way in best],
            line,
            color=style.REFERENCE_COLOUR,
            linewidth=5 if line == "-" else 1.4,
            alpha=0.25 if line == "-" else 0.9,
            zorder=1.2,
            solid_capstyle="round",
            drawstyle="steps-post",
            label=label,
        )


def _apart(
    own: Sequence[Choice], cost: str, losses: Sequence[float], costs: Sequence[float]
) -> list[Choice]:
    """Picks those whose names have room: the first, and each that is not beside an earlier one."""
    height, width = max(losses) - min(losses), max(costs) - min(costs)
    named: list[Choice] = []
    for way in own:
        near = [
            other
            for other in named
            if abs(way.bits_per_byte - other.bits_per_byte) < 0.045 * height
            and abs(math.log(getattr(way, cost) / getattr(other, cost))) < 0.035 * width
        ]
        if not near:
            named.append(way)
    return named


def _cost_axis(axes: Axes, ways: Sequence[Choice], cost: str) -> None:
    show = format_flops if cost == "flops" else format_seconds
    costs = [getattr(way, cost) for way in ways]
    ticks = log_ticks(min(costs), max(costs))
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.12)
    axes.set_xticks(ticks, [style.short_unit(show(tick, 2)) for tick in ticks])
    axes.set_xticks([], minor=True)


def log_ticks(low: float, high: float) -> list[float]:
    """Picks round numbers on a log axis from ``low`` to ``high``, with room for their names."""
    apart = max(math.log(high / low), 0.3) / 6
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for digit in (1.0, 2.0, 5.0, 3.0, 1.5, 7.0, 4.0, 1.2, 6.0, 2.5):
        for power in powers:
            tick = digit * 10.0**power
            inside = low * 0.9 <= tick <= high * 1.1
            if inside and all(abs(math.log(tick / other)) >= apart for other in ticks):
                ticks.append(tick)
    return sorted(ticks)
