"""The test of pictures finds what it looks for: one fault of each kind, and a picture without."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from matplotlib.figure import Figure

from rmtscale.report.names import spread
from rmtscale.study.figures.figure_6.drawing import Heatmap, draw
from tests.legible import problems


def plain() -> tuple[Figure, Any]:
    """Two lines with their names beside them."""
    figure = Figure(figsize=(6.0, 4.0))
    axes = figure.add_axes((0.15, 0.15, 0.6, 0.7))
    for name, y, marker in (("one", 1.0, "o"), ("two", 2.0, "s")):
        axes.plot([0, 1], [y, y + 0.5], marker=marker, color="#0072B2", gid=name)
        axes.annotate(name, (1.02, y + 0.5), xycoords=axes.get_yaxis_transform(), va="center")
    figure.suptitle("an answer")
    return figure, axes


def write(x: float, y: float, text: str = "words", **look: Any) -> Callable[[Figure, Any], None]:
    def broken(_figure: Figure, axes: Any) -> None:
        axes.text(x, y, text, transform=axes.transAxes, **look)

    return broken


def same_look(_figure: Figure, axes: Any) -> None:
    axes.plot([0, 1], [1.2, 1.4], marker="o", color="#0072B2", gid="three")


def four_more(_figure: Figure, axes: Any) -> None:
    for at, line in enumerate(("--", "-.", ":", (0, (5, 1)))):
        axes.plot([0, 1], [at, at], linestyle=line, color="#0072B2", gid=f"more {at}")


def no_answer(figure: Figure, _axes: Any) -> None:
    figure.suptitle("")


def empty_half(figure: Figure, axes: Any) -> None:
    figure.set_size_inches(14.0, 9.0)
    axes.set_position((0.05, 0.6, 0.25, 0.3))


FAULTS = {
    "lies on": write(0.5, -0.075),  # on the numbers of the axis
    "runs through": write(0.3, 0.13),
    "cut off": write(1.4, 0.5, "a name that is too long for its place"),
    "contrast": write(0.2, 0.5, color="#E69F00"),
    "pixels high": write(0.2, 0.5, fontsize=5),
    "looks like": same_look,
    "6 series": four_more,
    "no answer": no_answer,
    "blank": empty_half,
}


def test_a_plain_picture_has_no_fault() -> None:
    assert problems(plain()[0]) == []


@pytest.mark.parametrize("words", FAULTS)
def test_each_fault_is_found(words: str) -> None:
    figure, axes = plain()
    FAULTS[words](figure, axes)
    found = problems(figure)
    assert any(words in problem for problem in found), found


def test_names_are_moved_apart_and_stay_inside() -> None:
    assert spread([0.1, 0.5, 0.9], 0.2) == [0.1, 0.5, 0.9]
    assert spread([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])
    assert spread([0.95, 1.0, 1.0], 0.1) == pytest.approx([0.8, 0.9, 1.0])
    assert spread([0.0, 0.0], 0.3) == pytest.approx([0.0, 0.3])
    crowd = spread([0.5] * 20, 0.1)  # more than there is room for: apart all the same
    assert all(b - a == pytest.approx(0.1) for a, b in pairwise(crowd))


def test_what_memory_looks_at_can_be_read() -> None:
    """Figure 6 is made from a training; its drawing is held here."""
    labels = [f"[read {at}]" for at in range(4)] + ["32 words"] * 12 + ["kitchen", "is"]
    weights = [[1 / len(labels)] * len(labels)] * len(labels)
    maps = [Heatmap(f"segment {at}", labels, weights, [range(16, 18)], [0, 1]) for at in range(4)]
    figure = draw(maps)
    figure.suptitle("what its page says")
    assert problems(figure) == []
