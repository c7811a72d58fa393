"""Names of lines, written beside a panel: nothing lies on them, and they lie on nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import hypot
from typing import TYPE_CHECKING, Any

from rmtscale.report.colours import ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path

_LINE_INCHES = 0.5
"""Width of the piece of a line before its name in a legend, and of the room around both."""


def names_inches(names: Iterable[str]) -> float:
    """Returns the room to the right of a panel for the longest of some names."""
    return 0.3 + 0.07 * max(map(len, names), default=0)


def legend_columns(names: Sequence[str], inches: float, most: int = 5) -> int:
    """Returns how many columns of a legend under all panels stand in so many inches.

    Args:
        names: of the lines, which fill column after column.
        inches: width of the figure.
        most: columns that are wanted.
    """
    for count in range(min(len(names), most), 1, -1):
        each, longer = divmod(len(names), count)
        ends = [column * each + min(column, longer) for column in range(count + 1)]
        columns = [names[begin:end] for begin, end in pairwise(ends)]
        if sum(_LINE_INCHES + 0.07 * max(map(len, own)) for own in columns) <= inches:
            return count
    return 1


def label_line_ends(
    axes: Axes, ends: Sequence[tuple[float, float, str, str]], *, panel_inches: float | None = None
) -> None:
    """Writes the names of lines to the right of the panel, where no line passes.

    Each stands at the height of its line's end, moved apart from its neighbours where they would
    touch; a thin line leads to it from where its own line ends.

    Args:
        ends: ``(x, y, text, colour)`` of each line's last point.
        panel_inches: height of the panel; where it is not given, as it is laid out now.
    """
    scale = axes.yaxis.get_transform()

    def share(value: float) -> float:
        low, here, high = scale.transform([axes.get_ylim()[0], value, axes.get_ylim()[1]])
        return float((here - low) / (high - low))

    if panel_inches is None:
        figure: Any = axes.get_figure(root=True)
        panel_inches = axes.get_position().height * figure.get_figheight()
    ends = sorted(ends, key=lambda end: end[1])
    places = spread([share(end[1]) for end in ends], 11.5 / (72 * panel_inches))
    for (x, y, text, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            text,
            (x, y),
            xytext=(1.0, place),
            textcoords="axes fraction",
            ha="left",
            va="center",
            fontsize=8.5,
            color=ink(colour),
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "relpos": (0.0, 0.5),
                "connectionstyle": _straight,
                "patchA": None,
                "shrinkA": 2,
                "shrinkB": 4,
            },
        ).set_x(1.0 + 0.14 / axes_inches(axes))


def _straight(
    first: Sequence[float], last: Sequence[float], shrinkA: float, shrinkB: float, **_: Any
) -> Path:
    """Connects two points by a line that is cut short at its ends.

    Matplotlib's own connection styles look for where a curve leaves a circle, bit by bit: for all
    names of a report that takes longer than to draw their text.
    """
    from matplotlib.path import Path

    (x, y), (u, v) = first, last
    along = hypot(u - x, v - y)
    if along > shrinkA + shrinkB:
        a, b = shrinkA / along, 1 - shrinkB / along
        (x, y), (u, v) = (x + a * (u - x), y + a * (v - y)), (x + b * (u - x), y + b * (v - y))
    return Path([(x, y), (u, v)])


def axes_inches(axes: Axes) -> float:
    """Returns the width of a panel as it is laid out now."""
    figure: Any = axes.get_figure(root=True)
    return float(axes.get_position().width * figure.get_figwidth())


def spread(places: Sequence[float], apart: float) -> list[float]:
    """Moves sorted places apart until no two are nearer than ``apart``, as little as possible.

    Where there is room for all between 0 and 1, they stay there.
    """
    blocks: list[tuple[float, int]] = []
    """Places that touch: the first of them as each would like it on average, and their number."""
    for place in places:
        first, count = place, 1
        while blocks and blocks[-1][0] + blocks[-1][1] * apart > first:
            before, number = blocks.pop()
            first = (before * number + (first - number * apart) * count) / (number + count)
            count += number
        blocks.append((first, count))
    moved = [first + index * apart for first, count in blocks for index in range(count)]
    over = max(0.0, moved[-1] - 1.0) if moved else 0.0
    under = max(0.0, -moved[0]) if moved else 0.0
    if (over or under) and (len(moved) - 1) * apart <= 1.0:
        ceiling, floor = 1.0, 0.0
        for index in range(len(moved) - 1, -1, -1):
            moved[index] = min(moved[index], ceiling)
            ceiling = moved[index] - apart
        for index in range(len(moved)):
            moved[index] = max(moved[index], floor)
            floor = moved[index] + apart
    return moved
