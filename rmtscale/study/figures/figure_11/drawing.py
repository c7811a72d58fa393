"""Figure 11 of the paper: accuracy by segments read, trained with a curriculum and without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rmtscale.report import style
from rmtscale.study.figures.memory_tasks.axes import (
    Curve,
    accuracy_axis,
    draw_curve,
    right_share,
    segment_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = {
    "curriculum": (style.RMT_COLOUR, "-", "o"),
    "no curriculum": (style.FULL_COLOUR, "--", "s"),
}


@style.styled
def draw(kinds: Mapping[str, Mapping[str, Mapping[int, Curve]]], trained_segments: int) -> Figure:
    """Draws both ways, with a line for each seed; each kind of backbone has a panel.

    Args:
        kinds: by kind of backbone, way (``curriculum``, ``no curriculum``) and seed.
        trained_segments: of the longest stage.
    """
    several = len(kinds) > 1
    figure, panels = style.new_figure(
        len(kinds), width=5.0 * len(kinds) if several else 6.4, height=4.0
    )
    for axes, (kind, ours) in zip(panels, kinds.items(), strict=True):
        _panel(axes, ours, trained_segments)
        title = "Memorize, the same steps with and without a curriculum"
        axes.set_title(f"Memorize, {kind}" if several and kind else title)
    said = [
        _headline(ours, f", {kind}" if several and kind else "") for kind, ours in kinds.items()
    ]
    style.headline(figure, ". ".join(said))
    return figure


def _panel(axes: Axes, ours: Mapping[str, Mapping[int, Curve]], trained_segments: int) -> None:
    counts: set[int] = set()
    for way, curves in ours.items():
        colour, line, marker = _LOOKS["no curriculum" if way.startswith("no") else "curriculum"]
        for index, curve in enumerate(curves.values()):
            label = way if not index else None
            draw_curve(axes, curve, colour, marker=marker, line=line, label=label, name=way)
            counts |= set(curve)
    axes.axvline(trained_segments, color=style.REFERENCE_COLOUR, linewidth=0.8)
    axes.annotate(
        "trained up to here",
        (trained_segments, 50),
        xytext=(4, 0),
        textcoords="offset points",
        fontsize=8,
        color=style.REFERENCE_COLOUR,
    )
    accuracy_axis(axes)
    segment_axis(axes, sorted(counts))
    axes.legend(frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.4))


def _headline(ours: Mapping[str, Mapping[int, Curve]], whose: str) -> str:
    """Says what is right on the longest input, with a curriculum and without."""
    longest = max(count for curves in ours.values() for curve in curves.values() for count in curve)
    ends = {
        way: [curve[longest] for curve in curves.values() if longest in curve]
        for way, curves in ours.items()
    }
    said = [f"{way} {right_share(some)}" for way, some in ends.items() if some]
    return f"Right answers after {longest} segments{whose}: {', '.join(said)}"
