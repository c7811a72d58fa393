"""Savings against length: the best full attention over RMT, and the break-even.

A ratio has a bar where the quartiles of both, or the A/A pair, leave it open; where RMT overtakes
is known between two measured lengths, which a shade at the bottom spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.answers import answer, headline, short_name
from rmtscale.report.figures.lines import draw_bars, draw_series
from rmtscale.report.figures.panels import Panel, look_of, panels_of
from rmtscale.report.names import label_line_ends, names_inches
from rmtscale.report.quantities import MEMORY, TIME, Quantity
from rmtscale.report.series import Group
from rmtscale.report.verdict import Duel, duel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHADES = 0.055
"""The share of an axes' height that the shade of one RMT takes."""


@style.styled
def draw(groups: Sequence[Group]) -> Figure | None:
    """Draws time and memory beside each other; None where nothing can be compared."""
    contested = [
        (panel, both)
        for panel in panels_of(groups)
        if any(both := [duels(panel, quantity) for quantity in (TIME, MEMORY)])
    ]
    if not contested:
        return None
    names = [_name(panel, one) for panel, both in contested for some in both for one in some]
    figure, grid = style.new_grid(
        2 * len(contested), height=3.5, margins=style.Margins(right=names_inches(names))
    )
    for index, (panel, both) in enumerate(contested):
        beside = zip(grid[2 * index : 2 * index + 2], both, (TIME, MEMORY), strict=True)
        for (axes,), some, quantity in beside:
            _panel(axes, panel, some)
            axes.set_ylabel(f"full / RMT: times {quantity.better}")
            style.entitle(axes, f"{quantity.name}: {panel.title}", _answer(panel, some, quantity))
    style.headline(figure, headline(groups, TIME))
    return figure


def duels(panel: Panel, quantity: Quantity) -> list[Duel]:
    """Returns the RMTs of a panel that have a ratio, each against its whole group's full ones."""
    return [
        contest for rmt in panel.of("rmt") if (contest := duel(panel.group, rmt, quantity)).ratios
    ]


def _name(panel: Panel, contest: Duel) -> str:
    return f"{panel.names[contest.rmt.label]}  {contest.ratio_at(max(contest.ratios))}"


def _answer(panel: Panel, contests: Sequence[Duel], quantity: Quantity) -> str:
    """Says between which lengths RMTs overtake; where none does, who is ahead at the end."""
    overtaking = [
        f"{short_name(contest.rmt)} overtakes between {style.short_tokens(contest.worse_until)} "
        f"and {style.short_tokens(contest.better_from)}"
        for contest in contests
        if contest.worse_until and contest.better_from
    ]
    if len(overtaking) == 1:
        return overtaking[0]
    if overtaking:
        return f"{len(overtaking)} RMTs overtake within the shades at the bottom"
    return answer(panel, quantity)


def _panel(axes: Axes, panel: Panel, contests: list[Duel]) -> None:
    if not contests:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center")
        axes.set_axis_off()
        return
    ends = []
    for contest in contests:
        look = look_of(contest.rmt)
        draw_series(axes, contest.rmt, contest.ratios, look)
        draw_bars(axes, contest.spans, look.colour)
        last = max(contest.ratios)
        ends.append((last, contest.ratios[last], _name(panel, contest), look.colour))
    lengths = sorted(
        {tokens for contest in contests for tokens in contest.ratios}
        | {contest.better_from for contest in contests if contest.better_from is not None}
    )
    overtaking = [contest for contest in contests if contest.worse_until and contest.better_from]
    style.length_axis(axes, lengths)
    values = [1.0, *(end for one in contests for span in one.spans.values() for end in span)]
    low, high = min(values) / 1.5, max(values) * 1.5
    shaded = _SHADES * len(overtaking)  # of the height, below all that is drawn
    axes.set_ylim(low / (high / low) ** (shaded / (1 - shaded)), high)
    style.unit_axis(axes, lambda value: f"x{value:g}")
    axes.axhline(1.0, color=style.REFERENCE_COLOUR, linewidth=1.0)
    _break_even(axes, overtaking)
    label_line_ends(axes, ends)


def _break_even(axes: Axes, overtaking: list[Duel]) -> None:
    """A shade at the bottom for each RMT: between which lengths it overtakes."""
    for place, contest in enumerate(overtaking):
        assert contest.worse_until is not None
        assert contest.better_from is not None
        axes.axvspan(
            contest.worse_until,
            contest.better_from,
            ymin=place * _SHADES,
            ymax=(place + 1) * _SHADES,
            color=look_of(contest.rmt).colour,
            alpha=0.3,
            linewidth=0,
            gid=f"break-even {contest.rmt.label}",
        )
