"""The whole field: FLOPs per token and state against length, a panel for each family of methods.

A line is solid up to the longest input that the method's own paper reports, where it has a mark,
and thin beyond; a triangle at the end says that the paper went further than the axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rmtscale.costs.comparison import Comparison
from rmtscale.costs.methods.method import Method
from rmtscale.report import style
from rmtscale.report.names import label_line_ends, names_inches
from rmtscale.units import format_flops

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FAMILIES = (
    ("recurrence over segments", ("rmt", "armt", "transformer-xl", "compressive")),
    ("what is looked up", ("block-recurrent", "memorizing", "unlimiformer")),
    ("windows", ("sliding-window", "longformer", "bigbird", "longnet")),
    ("windows and what is global", ("etc", "longt5", "colt5")),
    ("convolutions", ("s4", "hyena")),
    ("linear recurrences", ("rwkv", "retnet", "mamba", "mamba-2")),
)
_COLOURS = ("#117733", "#882255", "#B8860B", "#5B4B9A")
_LINES = ("-", "--", "-.", ":")
_MARKERS = "osD^"
_MOST = 4
"""Methods in a panel, beside full attention."""


class _Family(NamedTuple):
    title: str
    methods: Sequence[Method]


@style.styled
def draw(comparison: Comparison) -> Figure:
    """Draws for each family FLOPs of a forward pass per token, and the state beside it.

    Where all but one method have full attention's state, there is nothing to draw of it.
    """
    families = _families(comparison.methods)
    quantities = ["flops"]
    if len({tuple(_values(comparison, one, "state_bytes")) for one in comparison.methods}) > 2:
        quantities.append("state_bytes")
    names = [method.name for method in comparison.methods]
    figure, grid = style.new_grid(
        len(families) * len(quantities),
        height=2.8,
        margins=style.Margins(left=1.0, right=names_inches(names), top=0.36),
        below=0.35,
        columns=2,
    )
    panels = [(family, quantity) for family in families for quantity in quantities]
    for (axes,), (family, quantity) in zip(grid, panels, strict=True):
        _panel(axes, comparison, family, quantity)
    colour = style.REFERENCE_COLOUR
    first = grid[0][0]
    first.plot([], [], "o", color=colour, ms=5, label="longest input its paper reports")
    first.plot([], [], ">", color=colour, ms=5, label="its paper goes on beyond this axis")
    figure.legend(
        *first.get_legend_handles_labels(),
        loc="lower center",
        ncols=2,
        frameon=False,
        fontsize=8.5,
    )
    style.headline(figure, _headline(comparison, quantities))
    return figure


def _families(methods: Sequence[Method]) -> list[_Family]:
    """The methods by family, as many in a panel as can be told apart; full attention is in all."""
    others = {method.name: method for method in methods if method.name != "full"}
    found: list[tuple[str, list[Method]]] = []
    for title, names in _FAMILIES:
        mine = [others.pop(name) for name in names if name in others]
        if found and mine and len(found[-1][1]) + len(mine) <= _MOST:
            found[-1] = (f"{found[-1][0]}; {title}", [*found[-1][1], *mine])
        elif mine:
            found.append((title, mine))
    left = list(others.values())
    found += [("others", left[at : at + _MOST]) for at in range(0, len(left), _MOST)]
    full = [method for method in methods if method.name == "full"]
    return [_Family(title, [*full, *mine]) for title, mine in found] or [_Family("", full)]


def _headline(comparison: Comparison, quantities: Sequence[str]) -> str:
    last = comparison.tokens[-1]
    cheap = comparison.least("flops")
    words = (
        f"{comparison.model.name} at {style.short_tokens(last)} tokens: {cheap} needs the fewest"
    )
    words += f" FLOPs, {format_flops(comparison.cost(cheap, last) / last)} a token"
    small = comparison.least("state_bytes")
    if len(quantities) > 1:
        return f"{words}, and {small} keeps the smallest state"
    return f"{words}; all but {small} keep a state that grows"


def _panel(axes: Axes, comparison: Comparison, family: _Family, quantity: str) -> None:
    ends = []
    beside = [method for method in family.methods if method.name != "full"]
    for method in family.methods:
        at = beside.index(method) if method in beside else None
        look = (
            style.Look(style.FULL_COLOUR, "o", "-")
            if at is None
            else style.Look(_colour(method.name, at), _MARKERS[at], _LINES[at])
        )
        values = _draw_line(axes, comparison, method, quantity, look)
        ends.append((comparison.tokens[-1], values[-1], method.name, look.colour))
    first, last = comparison.tokens[0], comparison.tokens[-1]
    style.token_axis(axes, list(comparison.tokens[::-1][::3][::-1]))
    axes.set_xlim(first * 0.85, last * 1.15)
    if quantity == "flops":
        style.unit_axis(axes, format_flops)
        axes.set_ylabel("FLOPs / tokens")
    else:
        style.bytes_axis(axes)
        axes.set_ylabel(f"state, {comparison.dtype}")
    axes.set_title(family.title)
    label_line_ends(axes, ends)


def _colour(name: str, place: int) -> str:
    """RMT has its own colour here, too."""
    return style.RMT_COLOUR if name == "rmt" else _COLOURS[place]


def _values(comparison: Comparison, method: Method, quantity: str) -> list[float]:
    costs = [
        (tokens, comparison.cost(method.name, tokens, quantity)) for tokens in comparison.tokens
    ]
    return [cost / tokens if quantity == "flops" else float(cost) for tokens, cost in costs]


def _draw_line(
    axes: Axes, comparison: Comparison, method: Method, quantity: str, look: style.Look
) -> list[float]:
    """Draws one method's line and mark; returns its values."""
    lengths, values = comparison.tokens, _values(comparison, method, quantity)
    axes.plot(
        lengths, values, look.line, color=look.colour, linewidth=0.8, alpha=0.75, gid=method.name
    )
    reported = method.reported
    if reported is None or reported.tokens < lengths[0]:
        return values
    shown = [index for index, length in enumerate(lengths) if length <= reported.tokens]
    x, y = [lengths[index] for index in shown], [values[index] for index in shown]
    if reported.tokens < lengths[-1]:  # the mark lies between two lengths: on the line, log-log
        x.append(reported.tokens)
        y.append(_between(lengths, values, reported.tokens))
    axes.plot(x, y, look.line, color=look.colour, linewidth=2.0)
    beyond = reported.tokens > lengths[-1]
    axes.plot(x[-1:], y[-1:], ">" if beyond else "o", color=look.colour, ms=5)
    return values


def _between(lengths: Sequence[int], values: Sequence[float], tokens: int) -> float:
    """Interpolates the value at ``tokens`` between its neighbours, both axes logarithmic."""
    import numpy as np

    return float(np.exp(np.interp(np.log(tokens), np.log(lengths), np.log(values))))
