"""Savings against length: the best full attention over RMT, and the break-even."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.lines import Looks, draw_series
from rmtscale.report.quantities import MEMORY, TIME
from rmtscale.report.series import Group
from rmtscale.report.verdict import Duel, duel
from rmtscale.units import format_ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def duels(group: Group) -> list[list[Duel]]:
    """Returns, for time and for memory, each RMT series that has a ratio."""
    return [
        [contest for rmt in group.of("rmt") if (contest := duel(group, rmt, quantity)).ratios]
        for quantity in (TIME, MEMORY)
    ]


@style.styled
def draw(groups: Sequence[Group], looks: Looks) -> Figure | None:
    """Draws two panels a group, time and memory; None where nothing can be compared."""
    contested = [(group, both) for group in groups if any(both := duels(group))]
    if not contested:
        return None
    figure, panels = style.new_grid(2 * len(contested), height=3.6)
    for index, (group, both) in enumerate(contested):
        for (axes,), of_quantity, word in zip(
            panels[2 * index : 2 * index + 2], both, ("faster", "smaller"), strict=True
        ):
            _panel(axes, group, of_quantity, looks)
            axes.set_ylabel(f"full / RMT: times {word}")
            axes.set_title(group.name)
    return figure


def _panel(axes: Axes, group: Group, duels: list[Duel], looks: Looks) -> None:
    if not duels:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center")
        axes.set_axis_off()
        return
    for contest in duels:
        draw_series(axes, contest.rmt, contest.ratios, looks[contest.rmt.label])
    values = [ratio for contest in duels for ratio in contest.ratios.values()]
    style.length_axis(axes, group.lengths(), [f"{label}  x10.00" for label in group.labels()])
    axes.set_ylim(min(*values, 1.0) / 1.5, max(*values, 1.0) * 1.5)
    style.unit_axis(axes, lambda value: f"x{value:g}")
    _break_even(axes, duels, looks)
    ends = []
    for contest in duels:
        last = max(contest.ratios)
        text = f"{contest.rmt.label}  {format_ratio(contest.ratios[last])}"
        ends.append((last, contest.ratios[last], text, looks[contest.rmt.label].colour))
    style.label_line_ends(axes, ends)


def _break_even(axes: Axes, duels: list[Duel], looks: Looks) -> None:
    """The line of equal cost, and a tick on it at the length from which on RMT wins."""
    axes.axhline(1.0, color=style.REFERENCE_COLOUR, linewidth=1.0)
    axes.annotate(
        "below: full attention wins",
        (0.01, 1.0),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, -10),
        textcoords="offset points",
        fontsize=7.5,
        color=style.REFERENCE_COLOUR,
    )
    for contest in duels:
        if contest.better_from is not None and not all(contest.wins.values()):
            axes.axvline(
                contest.better_from,
                color=looks[contest.rmt.label].colour,
                linewidth=1.0,
                linestyle=":",
                gid=f"break-even {contest.rmt.label}",
            )
            axes.annotate(
                f"from {style.short_tokens(contest.better_from)} on",
                (contest.better_from, 0.02),
                xycoords=axes.get_xaxis_transform(),
                xytext=(2, 2),
                textcoords="offset points",
                fontsize=7.5,
                rotation=90,
                color=looks[contest.rmt.label].colour,
            )
