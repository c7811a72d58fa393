"""Figures hold the numbers of the records, the same as tables and words; never an empty plot."""

from __future__ import annotations

from typing import Any

import pytest

from rmtscale.costs.memory import estimate_memory
from rmtscale.report import gallery, style
from rmtscale.report.figures import (
    ceiling,
    exponents,
    memory,
    per_token,
    predicted,
    speed_up,
    terms,
    time,
)
from rmtscale.report.figures.panels import look_of, panels_of
from rmtscale.report.fits import fit_power
from rmtscale.report.quantities import CEILING, ENERGY_PER_TOKEN, MEMORY, TIME, TIME_PER_TOKEN
from rmtscale.report.series import Group, group_records
from rmtscale.report.tables import points_table, verdict_table
from rmtscale.report.verdict import duel, judge
from rmtscale.units import format_ratio
from tests.drawn import points
from tests.synthetic.records import figure_10, inference, point, record


@pytest.fixture(scope="module")
def group() -> Group:
    (one,) = group_records(figure_10())
    return one


def lines(axes: Any, gid: str) -> dict[float, float]:
    """The points of the line drawn for a series."""
    (line,) = [line for line in axes.lines if line.get_gid() == gid]
    return dict(points(line))


@pytest.mark.parametrize(
    ("draw", "panel", "quantity"),
    [
        (memory.draw, 0, MEMORY),
        (time.draw, 0, TIME),
        (ceiling.draw, 0, CEILING),
        (per_token.draw, 0, TIME_PER_TOKEN),
        (per_token.draw, 1, ENERGY_PER_TOKEN),
        (predicted.draw_memory, 0, MEMORY),
        (predicted.draw_time, 0, TIME),
    ],
)
def test_a_picture_shows_the_numbers_of_the_table(
    group: Group, draw: Any, panel: int, quantity: Any
) -> None:
    figure = draw([group])
    table = points_table([group])
    column = {
        MEMORY: "memory",
        TIME: "step",
        CEILING: "ceiling",
        TIME_PER_TOKEN: "per token",
        ENERGY_PER_TOKEN: "energy per token",
    }[quantity]
    place = table.columns.index(column)
    for series in group.series:
        shown = lines(figure.axes[panel], series.label)
        rows = {
            row[2].number: row[place]
            for row in table.rows
            if row[1].text == series.label and row[place].number is not None
        }
        assert shown == {tokens: cell.number for tokens, cell in rows.items()}
        assert {quantity.show(value) for value in shown.values()} == {
            cell.text for cell in rows.values()
        }


def test_the_ratio_is_the_same_in_picture_table_and_words(group: Group) -> None:
    figure = speed_up.draw([group])
    assert figure is not None
    verdict = judge(group)
    table = verdict_table([verdict])
    for row, rmt in zip(table.rows, group.of("rmt"), strict=True):
        for axes, quantity, place in ((figure.axes[0], TIME, 5), (figure.axes[1], MEMORY, 4)):
            found = duel(group, rmt, quantity)
            ratio = lines(axes, rmt.label)[7000]
            assert ratio == found.ratios[7000] == row[place].number
            assert row[place].text == f"{format_ratio(ratio)} at 7,000"
            assert format_ratio(ratio) in " ".join(verdict.sentences)
            assert any(format_ratio(ratio) in text.get_text() for text in axes.texts)
    (mark,) = [bar for bar in figure.axes[0].patches if bar.get_gid() == "break-even RMT 500"]
    found = duel(group, group.of("rmt")[0], TIME)
    ends = mark.get_window_extent().transformed(figure.axes[0].transData.inverted())
    assert (ends.x0, ends.x1) == pytest.approx((found.worse_until, found.better_from))
    assert (found.worse_until, found.better_from) == (1000, 2000)


def test_out_of_memory_is_marked_at_the_limit(group: Group) -> None:
    figure = memory.draw([group])
    assert figure is not None
    assert lines(figure.axes[0], "failed full") == {8000: 80 * 1024**3}
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "limit: 80.00 GiB" in words
    assert "out of memory" in words


def test_residuals(group: Group) -> None:
    figure = predicted.draw_memory([group])
    assert figure is not None
    shown = lines(figure.axes[1], "residual full")
    assert shown[1000] == pytest.approx(100 * (1 / 1.06 - 1), rel=1e-6)


def test_terms_sum_to_the_prediction(group: Group) -> None:
    for label, one in terms.shown(group):
        which = one.point
        total = estimate_memory(which.built_model, which.workload(), which.recurrence()).total
        assert sum(terms.predicted_terms(one).values()) == total == one.predicted.peak_bytes, label
        assert which.tokens == 7000  # the longest that all of them ran


def test_exponents_are_those_of_the_fit(group: Group) -> None:
    for series, quantity, fit in exponents.fits(group):
        assert fit == fit_power(series.values(quantity))


def test_a_method_has_one_colour_everywhere() -> None:
    groups = group_records([*figure_10(), *inference()])
    shown: set[style.Look] = set()
    for group in groups:
        for series in group.series:
            drawn, of = look_of(series), series.point
            assert drawn.colour == {"full": style.FULL_COLOUR, "rmt": style.RMT_COLOUR}[of.method]
            assert drawn.line == {"sdpa": "-", "eager": "--"}[of.attention]
            assert drawn.marker == style.look("rmt", "sdpa", of.segment_size).marker
            shown.add(drawn)
    assert len({one.marker for one in shown}) == 3  # full, RMT 500, RMT 1000
    assert len({one.line for one in shown}) == 2


def test_twenty_variants_stay_apart() -> None:
    """In panels of five, none of which has two that look alike."""
    sizes = range(50, 1025, 50)
    records = [record(point(method="rmt", segment_size=size, memory_tokens=10)) for size in sizes]
    (group,) = group_records([record(point()), *records])
    shown = panels_of([group])
    assert {one.label for panel in shown for one in panel.series} == set(group.labels())
    for panel in shown:
        assert len(panel.series) <= 5
        assert len({look_of(one) for one in panel.series}) == len(panel.series)


@pytest.mark.usefixtures("unpainted")
def test_nothing_to_draw_is_no_picture() -> None:
    failed = group_records([record(point(), outcome="crashed", event_time=None, memory=None)])
    assert all(not picture.svg for picture in gallery.draw_all(failed))
    (single,) = group_records([record(point(), energy_joules=None)])
    drawn = {picture.name: bool(picture.svg) for picture in gallery.draw_all([single])}
    assert drawn == {
        "overview": True,
        "memory": True,
        "time": True,
        "speed-up": False,
        "predicted-memory": True,
        "predicted-time": True,
        "terms": True,
        "ceiling": True,
        "per-token": True,
        "exponents": False,
    }
