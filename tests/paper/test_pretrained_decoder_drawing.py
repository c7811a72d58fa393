"""The picture of a pretrained decoder: rows, their names, intervals and what was trained."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from matplotlib.collections import LineCollection
from matplotlib.text import Annotation, Text

from rmtscale.study.figures.language.groups import InputSize
from rmtscale.study.figures.pretrained_decoder.claims import (
    context_gains,
    gains,
    ways_of,
)
from rmtscale.study.figures.pretrained_decoder.drawing import draw
from rmtscale.study.figures.pretrained_decoder.names import (
    names_beside,
    short_names,
    way_name,
    what_names_say,
)
from rmtscale.study.figures.pretrained_decoder.recipes import READ
from rmtscale.study.records.language import (
    ALL_WEIGHTS,
    LORA,
)
from tests.drawn import points
from tests.synthetic.language import shifted
from tests.synthetic.pretrained_decoder import (
    contexts,
    named,
    study,
    variants,
    way,
)


def test_short_names_say_what_memory_has() -> None:
    ways = ways_of([*way(256, 10, LORA), *variants()])
    names = dict(zip(map(way_name, ways), short_names(ways), strict=True))
    assert names == {
        "10 memory tokens, LoRA": "memory",
        "10 memory tokens (1 sink), LoRA": "sink",
        "10 memory tokens, LoRA, from 2 segments": "from 2",
        "10 memory tokens (1 sink), LoRA, from 2 segments": "sink, from 2",
        "10 memory tokens (1 sink), LoRA, from 2 segments, 50 % repeated until 70 %": (
            "sink, from 2, repeats"
        ),
        "10 memory tokens, LoRA, 50 % repeated until 70 %": "repeats",
    }
    said = what_names_say(ways)
    assert "*sink*: 1 of the memory tokens keeps" in said
    assert "*from 2*: training began with 2 segments, not with one" in said
    assert "*repeats*: 50 % of the batches repeat the segment before until 70 % of the" in said
    assert what_names_say(ways_of(study())) == ""
    # What differs is named by its number.
    two = named("two", way(256, 10, LORA, sink_tokens=2))
    less = named("less", way(256, 10, LORA, trained_repeat_share=0.25))
    more = short_names(ways_of([*variants(), *two, *less]))
    assert len(set(more)) == len(more) == 7
    assert {"1 sink", "2 sink", "25 % repeated", "50 % repeated until 70 %"} <= set(more)
    both = ways_of([*way(256, 10, LORA), *way(512, 10, LORA), *way(512, 10, ALL_WEIGHTS)])
    assert sorted(names_beside(both)) == [
        "input 256, LoRA",
        "input 512, LoRA",
        "input 512, all weights",
    ]


def panel_title(one: InputSize) -> str:
    return f"input {one.segment_size}, trained: {one.trained_weights}"


def lines_of(axes: Any) -> dict[str, Any]:
    """The lines of rows, by the whole name of the row."""
    return {str(line.get_gid()).removeprefix("row "): line for line in axes.lines if line.get_gid()}


@pytest.mark.usefixtures("unpainted")
def test_what_is_drawn_is_the_gain_and_filled_where_it_was_trained() -> None:
    ways = ways_of([*study(), *variants()])
    figure = draw(ways)
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    assert len(panels) == 2 * 3
    for one in ways:
        axes = panels[panel_title(one)]
        line = lines_of(axes)[way_name(one)]
        assert line.get_markerfacecolor() == "white"
        drawn = points(line)
        assert [x for x, _ in drawn] == pytest.approx([each.mean for each in gains(one).values()])
        # From the fewest segments at the top to the most, around the name of the row.
        heights = [y for _, y in drawn]
        assert heights == sorted(heights)
        assert axes.yaxis_inverted()
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert abs(heights[0] - round(heights[0])) < 0.5
        own = [each for each in ways if panel_title(each) == panel_title(one)]
        name = short_names(own)[own.index(one)]
        assert names[round(sum(heights) / len(heights))] == name
        filled = {point for other in axes.lines if not other.get_gid() for point in points(other)}
        trained = [count for count in READ if one.start_segments <= count <= 4]
        for count, point in zip(READ, drawn, strict=True):
            assert (point in filled) == (count in trained)
    assert set(gains(ways[0])) == set(READ)
    assert list(context_gains(ways[0])) == [280, 752]
    said = " ".join(figure.texts[0].get_text().split())
    assert "from top to bottom: 1, 2, 4, 8, 16 segments read" in said
    assert what_names_say(ways).replace("*", "") in said


@pytest.mark.usefixtures("unpainted")
def test_models_without_memory_have_rows_of_their_own() -> None:
    for axes in draw(ways_of(study())).axes:
        names = [label.get_text() for label in axes.get_yticklabels()]
        contexts_shown = [name for name in names if name.startswith("true context ")]
        assert names[0] == "no memory"
        assert contexts_shown == names[-2:]
        assert points(lines_of(axes)["no memory"]) == [(0.0, 0.0)]
    ways = ways_of(study())
    axes = draw(ways).axes[0]
    for context, gain in context_gains(ways[0]).items():
        ((x, y),) = points(lines_of(axes)[f"true context {context:,}"])
        assert x == gain.mean
        assert axes.get_yticklabels()[int(y)].get_text() == f"true context {context:,}"


@pytest.mark.usefixtures("unpainted")
def test_intervals_are_drawn_and_held_by_the_panel() -> None:
    ways = ways_of([*study(), *variants()])
    panels = {axes.get_title("left"): axes for axes in draw(ways).axes}
    for one in ways:
        axes = panels[panel_title(one)]
        bars = [
            tuple(segment[:, 0].tolist())
            for collection in axes.collections
            if isinstance(collection, LineCollection)
            for segment in collection.get_segments()
        ]
        low, high = axes.get_xlim()
        for gain in gains(one).values():
            assert (gain.low, gain.high) in bars
            assert low < gain.low <= gain.high < high


@pytest.mark.usefixtures("unpainted")
def test_names_of_rows_are_whole_and_apart() -> None:
    small = [one for one in study() if one.point.block_tokens == 192]
    repeat: dict[str, Any] = {"trained_repeat_share": 0.5, "trained_repeat_until": 0.7}
    longest = way(256, 10, ALL_WEIGHTS, sink_tokens=1, trained_start_segments=2, **repeat)
    whole = [*study(), *variants(), *named("r", longest)]
    for records in ([*contexts(256, LORA), *way(256, 10, LORA)], small, whole):
        figure = draw(ways_of(records), "An answer")
        figure.draw_without_rendering()
        for axes in figure.axes:
            boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
            panel = axes.get_window_extent()
            assert all(figure.bbox.x0 <= box.x0 < box.x1 <= panel.x0 for box in boxes)
            apart = sorted((box.y0, box.y1) for box in boxes)
            assert all(below[1] <= above[0] for below, above in pairwise(apart))
            for text in axes.get_children():
                if isinstance(text, Text) and text.get_text() == axes.get_title("left"):
                    assert text.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.usefixtures("unpainted")
def test_points_that_leave_the_panel_are_named_in_their_row() -> None:
    ways = ways_of(
        shifted(
            [*way(256, 10, LORA), *contexts(256, LORA)], lambda one: 9.0 * (one.point.segments > 4)
        )
    )
    (axes,) = draw(ways).axes
    assert max(one.mean for one in gains(ways[0]).values()) > axes.get_xlim()[1]
    (said,) = (text for text in axes.texts if "off to the right" in text.get_text())
    assert said.get_text() == "8, 16: off to the right"
    assert isinstance(said, Annotation)
    assert said.xy[0] == axes.get_xlim()[1]
    assert abs(said.xy[1] - 1) < 0.5
    plain = draw(ways_of([*way(256, 10, LORA), *contexts(256, LORA)]))
    assert not any("off" in text.get_text() for axes in plain.axes for text in axes.texts)
