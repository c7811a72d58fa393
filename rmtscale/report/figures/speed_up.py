"""Savings against length: the best full attention over RMT, and the break-even.

A ratio has a bar where the quartiles of both, or the A/A pair, leave it open; where RMT overtakes
is known between two measured lengths, which a shade at the bottom spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures.lines import Looks, draw_bars, draw_series
from rmtscale.report.quantities import MEMORY, TIME
from rmtscale.report.series import Group
from rmtscale.report.verdict import Duel, duel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHADES = 0.055
"""The share of an axes' height that the shade of one RMT takes."""


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
            _panel(axes, of_quantity, looks)
            axes.set_ylabel(f"full / RMT: times {word}")
            axes.set_title(group.name)
    return figure


def _panel(axes: Axes, duels: list[Duel], looks: Looks) -> None:
    if not duels:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center")
        axes.set_axis_off()
        return
    ends = []
    for contest in duels:
        look = looks[contest.rmt.label]
        draw_series(axes, contest.rmt, contest.ratios, look)
        draw_bars(axes, contest.spans, look.colour)
        last = max(contest.ratios)
        text = f"{contest.rmt.label}  {contest.ratio_at(last)}"
        ends.append((last, contest.ratios[last], text, look.colour))
    lengths = sorted(
        {tokens for contest in duels for tokens in contest.ratios}
        | {contest.better_from for contest in duels if contest.better_from is not None}
    )
    overtaking = [contest for contest in duels if contest.worse_until and contest.better_from]
    names = [*(text for _, _, text, _ in ends), *map(_between, overtaking)]
    style.length_axis(axes, lengths, names)
    values = [1.0, *(end for contest in duels for span in contest.spans.values() for end in span)]
    low, high = min(values) / 1.5, max(values) * 1.5
    shaded = _SHADES * len(overtaking)  # of the height, below all that is drawn
    axes.set_ylim(low / (high / low) ** (shaded / (1 - shaded)), high)
    style.unit_axis(axes, lambda value: f"x{value:g}")
    # Only as far as something is compared: names stand behind.
    equal = [axes.get_xlim()[0], lengths[-1]]
    axes.plot(equal, [1.0, 1.0], color=style.REFERENCE_COLOUR, linewidth=1.0)
    _break_even(axes, overtaking, lengths[-1], looks)
    style.label_line_ends(axes, ends)


def _between(contest: Duel) -> str:
    ends = (contest.worse_until or 0, contest.better_from or 0)
    return "overtakes between {} and {}".format(*map(style.short_tokens, ends))


def _break_even(axes: Axes, overtaking: list[Duel], longest: int, looks: Looks) -> None:
    """A shade at the bottom for each RMT: between which lengths it overtakes."""
    for place, contest in enumerate(overtaking):
        assert contest.worse_until is not None
        assert contest.better_from is not None
        look = looks[contest.rmt.label]
        axes.axvspan(
            contest.worse_until,
            contest.better_from,
            ymin=place * _SHADES,
            ymax=(place + 1) * _SHADES,
            color=look.colour,
            alpha=0.3,
            linewidth=0,
            gid=f"break-even {contest.rmt.label}",
        )
        axes.annotate(
            _between(contest),
            (longest, (place + 0.5) * _SHADES),
            xycoords=axes.get_xaxis_transform(),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=look.colour,
        )
