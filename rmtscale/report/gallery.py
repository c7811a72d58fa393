"""The figures of a report, in their order: what each is called, says and is drawn by."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rmtscale.processes import pool
from rmtscale.report import style
from rmtscale.report.figures import (
    ceiling,
    exponents,
    memory,
    overview,
    per_token,
    predicted,
    speed_up,
    terms,
    time,
)
from rmtscale.report.series import Group
from rmtscale.steps import steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rmtscale.processes import Answer

Draw = Callable[[Sequence[Group]], "Figure | None"]
MOST_PANELS = 4
"""Settings that are drawn: those with the most points. The tables hold all of them."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One figure before it is drawn."""

    name: str
    """The stem of its files: ``NAME.png``, ``NAME.svg``."""
    title: str
    caption: str
    missing: str
    """The words in its place where there is nothing to draw."""
    draw: Draw


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure, drawn; without files where there was nothing to draw. Fields as in Exhibit."""

    name: str
    title: str
    caption: str
    missing: str
    png: bytes = b""
    svg: bytes = b""


_NOT_ON_A_CPU = " (on a CPU resident memory is measured, which is no allocator's peak)"
EXHIBITS = (
    Exhibit(
        "overview",
        "The setting with the most points",
        "Peak memory and median time of one step. A cross is a point that ran out of memory.",
        "No setting has memory and time measured.",
        overview.draw,
    ),
    Exhibit(
        "memory",
        "Memory against length",
        "Peak of one step. A cross is a point that ran out of memory; the dashed line is the "
        "limit. Both axes are logarithmic: a power of the length is a straight line.",
        "No point has its memory measured.",
        memory.draw,
    ),
    Exhibit(
        "time",
        "Iteration time against length",
        "Median of the timed steps; the bar behind a marker spans the quartiles.",
        "No point has its time measured.",
        time.draw,
    ),
    Exhibit(
        "speed-up",
        "What RMT saves",
        "The best full attention measured, over RMT, at the same length: above the line at 1 RMT "
        "wins, below it full attention. Bars are what the quartiles of both and the A/A pair leave "
        "open. A shade at the bottom spans the measured lengths between which RMT overtakes.",
        "Full attention and RMT were nowhere both measured at the same length.",
        speed_up.draw,
    ),
    Exhibit(
        "predicted-memory",
        "Memory, predicted against measured",
        "Lines are predicted, by the formulas of today; marks are measured; below, how far the "
        "prediction is off.",
        f"No point has its memory both measured and predicted{_NOT_ON_A_CPU}.",
        predicted.draw_memory,
    ),
    Exhibit(
        "predicted-time",
        "Time, predicted against measured",
        "Lines are predicted, by the formulas of today, and bands hold what else it may be: where "
        "the host sets the pace it may need half as long again or twice as long. Marks are "
        "measured. Below, how far the prediction is off; where a bar crosses zero, the interval "
        "holds what was measured.",
        "No point has its time both measured and predicted (that of a CPU is not).",
        predicted.draw_time,
    ),
    Exhibit(
        "terms",
        "Memory by term",
        "Bars are predicted, term by term, by the formulas of today; the diamond is the measured "
        "peak.",
        f"No point has its memory both measured and predicted{_NOT_ON_A_CPU}.",
        terms.draw,
    ),
    Exhibit(
        "ceiling",
        "Share of the matmul ceiling",
        "FLOP/s of the step over those of one large matmul in the same dtype and process. What a "
        "fused causal kernel skips, the half of attention's square above the diagonal, is not "
        "counted.",
        "The matmul ceiling was not measured.",
        ceiling.draw,
    ),
    Exhibit(
        "per-token",
        "Time and energy per token",
        "A flat line is linear growth. Energy is the whole GPU's, where the driver gives it.",
        "No point has its time or its energy measured.",
        per_token.draw,
    ),
    Exhibit(
        "exponents",
        "Exponents",
        "The slope of log(cost) over log(tokens) with its 95 % confidence interval, over the "
        "longest tail that is a power within 5 %. A cost with a constant part grows more slowly "
        "than its power until the constant part no longer counts.",
        "No series has three points.",
        exponents.draw,
    ),
)


_OF_PREDICTIONS = {"predicted-memory", "predicted-time", "terms"}


def draw_all(groups: Sequence[Group]) -> list[Picture]:
    """Draws the figures of the groups with the most points; a series looks the same in all.

    Drawing is what a report takes its time for: a second process draws what needs no prediction
    first, this one what does, until they meet.
    """
    drawn = [group for group in groups if group.measured()][:MOST_PANELS]
    if not drawn:
        return [_picture(exhibit) for exhibit in EXHIBITS]
    _Work.hand_over(drawn)
    with pool(1, _Work.hand_over, (drawn,)) as other:
        # Predictions are known here, from the tables: the other process comes to them last.
        order = sorted(range(len(EXHIBITS)), key=lambda at: EXHIBITS[at].name in _OF_PREDICTIONS)
        theirs = {place: other.submit(_draw, place) for place in order}
        ours: dict[int, Picture] = {}
        for _ in steps(_ready(order, theirs, ours), "drawing", total=len(EXHIBITS)):
            pass
        return [ours.get(at) or theirs[at].result() for at in range(len(EXHIBITS))]


def _ready(
    order: Sequence[int], theirs: Mapping[int, Answer[Picture]], ours: dict[int, Picture]
) -> Iterator[int]:
    """Draws here what the other process has not begun; yields once for each that is drawn."""
    told = 0
    for place in reversed(order):
        if theirs[place].cancel():
            ours[place] = _draw(place)
        else:
            theirs[place].exception()  # waits; whoever asks for the picture is told of it
        drawn = sum(one.done() for one in theirs.values())
        yield from range(told, drawn)
        told = drawn


class _Work:
    """The groups that a process draws."""

    groups: Sequence[Group] = ()

    @classmethod
    def hand_over(cls, groups: Sequence[Group]) -> None:
        cls.groups = groups
        gc.freeze()  # records stay until the end: they are not looked through for garbage again


def _draw(place: int) -> Picture:
    figure = EXHIBITS[place].draw(_Work.groups)
    if figure is None:
        return _picture(EXHIBITS[place])
    files = style.render(figure)
    return _picture(EXHIBITS[place], files["png"], files["svg"])


def _picture(exhibit: Exhibit, png: bytes = b"", svg: bytes = b"") -> Picture:
    return Picture(exhibit.name, exhibit.title, exhibit.caption, exhibit.missing, png, svg)
