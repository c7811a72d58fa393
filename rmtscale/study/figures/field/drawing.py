"""The whole field: FLOPs per token and state against length, one line for each method.

A line is solid up to the longest input that the method's own paper reports, where it has a mark,
and thin beyond; a triangle at the end says that the paper went further than the axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rmtscale.costs.comparison import Comparison
from rmtscale.costs.methods.method import Method
from rmtscale.report import style
from rmtscale.units import format_flops

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FAMILIES = {
    style.FULL_COLOUR: ("full",),
    style.RMT_COLOUR: ("rmt", "armt"),
    "#882255": ("transformer-xl", "compressive", "block-recurrent", "memorizing", "unlimiformer"),
    "#117733": ("sliding-window", "longformer", "bigbird", "etc", "longt5", "colt5", "longnet"),
    "#B8860B": ("s4", "hyena"),
    "#5B4B9A": ("rwkv", "retnet", "mamba", "mamba-2"),
}
"""One colour for each family: recurrence with memory, windows, convolutions, linear recurrences."""
_LINES = ("-", (0, (6, 1.5)), (0, (3, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1.5, 1)), "-.", ":")


@style.styled
def draw(comparison: Comparison) -> Figure:
    """Draws both panels: FLOPs of a forward pass per token, and the state."""
    figure, panels = style.new_figure(2, width=12.0, height=5.6)
    model = comparison.model
    titles = {
        "flops": (f"{model.name}: FLOPs of a forward pass per token", "FLOPs / tokens"),
        "state_bytes": (f"{model.name}: state of one sequence ({comparison.dtype})", "bytes"),
    }
    for axes, (quantity, (title, label)) in zip(panels, titles.items(), strict=True):
        ends = []
        for method in comparison.methods:
            colour, line = _look(method.name)
            values = _draw_line(axes, comparison, method, quantity, colour, line)
            ends.append((comparison.tokens[-1], values[-1], method.name, colour))
        first, last = comparison.tokens[0], comparison.tokens[-1]
        style.token_axis(axes, _ticks(comparison.tokens))
        if quantity == "flops":  # room for the names of what lies close together at the bottom
            values = [end[1] for end in ends]
            axes.set_ylim(min(values) / 2.5, max(values) * 1.3)
            style.unit_axis(axes, format_flops)
        else:
            style.bytes_axis(axes)
        axes.set_title(title)
        axes.set_ylabel(label)
        axes.set_xlim(first * 0.85, last * (last / first) ** 0.27)
        style.label_line_ends(axes, ends, leaders=True)
    panels[0].plot([], [], "o", color="#333333", ms=5, label="longest input its paper reports")
    panels[0].plot([], [], ">", color="#333333", ms=5, label="its paper goes on beyond this axis")
    panels[0].legend(frameon=False, loc="upper left", fontsize=8)
    return figure


def _draw_line(
    axes: Axes, comparison: Comparison, method: Method, quantity: str, colour: str, line: Any
) -> list[float]:
    """Draws one method's line and mark; returns its values."""
    lengths = comparison.tokens

    def value(index: int) -> float:
        cost = comparison.cost(method.name, lengths[index], quantity)
        return cost / lengths[index] if quantity == "flops" else float(cost)

    values = [value(index) for index in range(len(lengths))]
    thick = 2.0 if method.name == "full" else 0.8  # what all others are compared with
    axes.plot(lengths, values, linestyle=line, color=colour, linewidth=thick, alpha=0.75)
    reported = method.reported
    if reported is None or reported.tokens < lengths[0]:
        return values
    shown = [index for index, length in enumerate(lengths) if length <= reported.tokens]
    x, y = [lengths[index] for index in shown], [values[index] for index in shown]
    if reported.tokens < lengths[-1]:  # the mark lies between two lengths: on the line, log-log
        x.append(reported.tokens)
        y.append(_between(lengths, values, reported.tokens))
    axes.plot(x, y, linestyle=line, color=colour, linewidth=2.0)
    axes.plot(x[-1:], y[-1:], ">" if reported.tokens > lengths[-1] else "o", color=colour, ms=5)
    return values


def _between(lengths: Sequence[int], values: Sequence[float], tokens: int) -> float:
    """Interpolates the value at ``tokens`` between its neighbours, both axes logarithmic."""
    import numpy as np

    return float(np.exp(np.interp(np.log(tokens), np.log(lengths), np.log(values))))


def _look(name: str) -> tuple[str, Any]:
    for colour, family in _FAMILIES.items():
        if name in family:
            return colour, _LINES[family.index(name)]
    return style.REFERENCE_COLOUR, "-"


def _ticks(lengths: Sequence[int]) -> list[int]:
    """Picks every other length, the greatest among them."""
    return list(lengths[::-1][::2][::-1])
