"""Memory and time of one setting side by side: the first picture of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures import memory, time
from rmtscale.report.figures.answers import answer
from rmtscale.report.figures.lines import margins
from rmtscale.report.figures.panels import Panel, panels_of
from rmtscale.report.quantities import MEMORY, TIME
from rmtscale.report.series import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.styled
def draw(groups: Sequence[Group]) -> Figure | None:
    """Draws the first group of which memory and time were measured; None where there is none."""
    both = [
        group
        for group in groups
        if all(any(one.values(quantity) for one in group.series) for quantity in (MEMORY, TIME))
    ]
    if not both:
        return None
    one = main_panel(both[0])
    figure, ((left,), (right,)) = style.new_grid(2, height=4.2, margins=margins([one]))
    memory.panel(left, one)
    time.panel(right, one)
    left.set_title("a) memory", pad=18)
    right.set_title("b) iteration time", pad=18)
    style.headline(figure, f"{one.title}: {answer(one, MEMORY)}")
    return figure


def main_panel(group: Group) -> Panel:
    """Returns the panel in which both methods go farthest together, then that of most lengths."""
    return max(
        panels_of([group], lambda one: bool(one.values(MEMORY)) and bool(one.values(TIME))),
        key=lambda panel: (_longest_of_both(panel), len(panel.lengths())),
    )


def _longest_of_both(panel: Panel) -> int:
    full, rmt = (
        {tokens for one in panel.of(method) for tokens in one.values(TIME)}
        for method in ("full", "rmt")
    )
    return max(full & rmt, default=0)
