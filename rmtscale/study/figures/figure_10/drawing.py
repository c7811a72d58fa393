"""Figure 10 of the paper: memory and iteration time against length, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmtscale.report.figures import overview
from rmtscale.report.series import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(group: Group) -> Figure | None:
    """Draws both panels of one group; None unless memory and time were measured."""
    return overview.draw([group])
