"""Figure 8 of the paper: loss by position in the block, and what each way of reading it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isqrt
from typing import TYPE_CHECKING, NamedTuple

from rmtscale.report import style
from rmtscale.study.figures.language.groups import InputSize
from rmtscale.study.figures.language.lines import context_name, size_name
from rmtscale.study.records.language import LanguageRecord
from rmtscale.units import format_flops, format_tokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS_PER_DOUBLING = 3
_ALONE = "#888888"
_CONTEXTS = ("#F0A35E", "#8A3D00", "#B8860B", "#5C2900", "#CC6677")
_MEMORIES = ((style.RMT_COLOUR, "-"), ("#003A5C", "--"), ("#56B4E9", ":"))
_LINES = ("--", "-.", ":", (0, (6, 1.5, 1, 1.5)), (0, (1.5, 1)))


class Reader(NamedTuple):
    """One way of reading the block."""

    label: str
    colour: str
    line: str | tuple[int, tuple[float, ...]]
    records: Mapping[int, LanguageRecord]
    """Records by seed."""


@style.styled
def draw(sizes: Sequence[InputSize], title: str = "") -> Figure:
    """Draws a panel for each input size.

    Args:
        sizes: ours.
        title: the answer in words.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(sizes) + 0.4, 8.4))
    grid = figure.subplots(2, len(sizes), squeeze=False, sharex="col", sharey=True)
    for column, size in enumerate(sizes):
        for axes, (words, some) in zip(grid[:, column], _panels(size).items(), strict=True):
            for reader in some:
                losses = mean_positions(reader.records)
                positions = range(1, len(losses) + 1)
                axes.plot(positions, losses, color=reader.colour, linewidth=0.5, alpha=0.3)
                middles, means = smoothed(losses)
                axes.plot(
                    middles,
                    means,
                    linestyle=reader.line,
                    color=reader.colour,
                    label=reader.label,
                    gid=reader.label,
                )
            axes.set_title(f"{size_name(size, sizes)}: {words}")
            _position_axis(axes, size.block_tokens)
            if not column:
                axes.set_ylabel("bits per byte, at the mean length of a token")
            axes.legend(
                frameon=False,
                fontsize=8,
                loc="upper right",
                title="forward FLOPs for each token scored",
                title_fontsize=8,
                alignment="left",
            )
        grid[-1, column].set_xlabel("position in the block, tokens")
    _leave_room(grid[0, 0], sizes)
    style.headline(figure, title)
    return figure


def _leave_room(axes: Axes, sizes: Sequence[InputSize]) -> None:
    """Raises the top of all panels until no curve runs through a legend, upper right."""
    rows = 1 + max(len(some) for size in sizes for some in _panels(size).values())
    bottom, top = axes.get_ylim()
    for reader in (reader for size in sizes for reader in readers(size)):
        losses = mean_positions(reader.records)
        # Legends begin before the middle, which on a log axis is the square root of the length.
        highest = max(losses[isqrt(len(losses)) // 2 :])
        top = max(top, bottom + (highest - bottom) / (1 - 0.03 - 0.045 * rows))
    axes.set_ylim(bottom, top)


def _panels(size: InputSize) -> dict[str, list[Reader]]:
    """Memory beside what it was trained from, and beside more of true context."""
    shown = readers(size)
    true = [one for one in shown if one.label.startswith("no memory")]
    small = true[: len(shown) - len(size.larger_contexts) - len(memories(size))]
    with_memory = [one for one in shown if one not in true]
    larger = true[len(small) :]
    return {
        "memory and no more context": [*small, *with_memory],
        "memory and more context": [*with_memory[-1:], *larger],
    }


def readers(size: InputSize) -> list[Reader]:
    """Lists the ways of reading the block that are drawn.

    The block alone, the own baseline, memory of two segments and of as many as were trained, and
    true contexts.
    """
    shown = []
    if size.own_context and 0 in size.contexts:
        alone = size.contexts[0]
        shown.append(Reader(_priced(context_name(0), alone), _ALONE, "-", alone))
    if size.own_context is not None:
        label = _priced(context_name(size.own_context), size.own)
        shown.append(Reader(label, style.FULL_COLOUR, "-", size.own))
    for index, (count, records) in enumerate(memories(size).items()):
        label = _priced(f"memory, {format_tokens(count)} segments", records)
        shown.append(Reader(label, *_MEMORIES[index % 3], records))
    for index, (context, records) in enumerate(size.larger_contexts.items()):
        look = _CONTEXTS[index % len(_CONTEXTS)], _LINES[index % len(_LINES)]
        shown.append(Reader(_priced(context_name(context), records), *look, records))
    return shown


def memories(size: InputSize) -> dict[int, Mapping[int, LanguageRecord]]:
    """Picks the longest training, reading 2 segments and as many as it was trained on."""
    if size.most_trained is None:
        return {}
    runs = size.rmt[size.most_trained]
    by_count: dict[int, Mapping[int, LanguageRecord]] = {}
    for count in sorted({2, size.most_trained} - {1}):
        records = {seed: curve[count] for seed, curve in runs.items() if count in curve}
        if records:
            by_count[count] = records
    return by_count


def mean_positions(records: Mapping[int, LanguageRecord]) -> list[float]:
    """Averages the loss at each position over seeds, in bits per byte."""
    losses = [record.position_bits_per_byte for record in records.values()]
    return [sum(at) / len(at) for at in zip(*losses, strict=True)]


def smoothed(losses: Sequence[float]) -> tuple[list[float], list[float]]:
    """Averages over bins of equal width on a log axis; returns their middles and means."""
    edges, edge = [1], 1.0
    while edges[-1] <= len(losses):
        edge *= 2 ** (1 / BINS_PER_DOUBLING)
        if int(edge) > edges[-1]:
            edges.append(int(edge))
    middles, means = [], []
    for first, end in pairwise(edges):
        part = losses[first - 1 : end - 1]
        middles.append((first * (first + len(part) - 1)) ** 0.5)
        means.append(sum(part) / len(part))
    return middles, means


def _position_axis(axes: Axes, last: int) -> None:
    ticks = [2**power for power in range(0, last.bit_length(), 1 if last < 200 else 2)]
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [format_tokens(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(0.95, last * 1.05)


def _priced(name: str, records: Mapping[int, LanguageRecord]) -> str:
    first = next(iter(records.values()))
    return f"{name}: {format_flops(first.flops_per_token, digits=3)}"
