"""Figure 10 of the paper: memory and iteration time against length, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.report.figures import memory, time
from rmtscale.report.figures.lines import Looks
from rmtscale.report.quantities import MEMORY, TIME
from rmtscale.report.series import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.styled
def draw(group: Group, looks: Looks) -> Figure | None:
    """Draws both panels of one group; None unless memory and time were measured."""
    if not all(
        any(series.values(quantity) for series in group.series) for quantity in (MEMORY, TIME)
    ):
        return None
    figure, ((left,), (right,)) = style.new_grid(2, height=4.4)
    memory.panel(left, group, looks)
    time.panel(right, group, looks)
    left.set_title("a) memory")
    right.set_title("b) iteration time")
    return figure
