"""Figures and tables of language models hold the numbers of the records."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.study.figures.figure_7 import drawing as figure_7
from rmtscale.study.figures.figure_8 import cost_quality
from rmtscale.study.figures.figure_8 import drawing as figure_8
from rmtscale.study.figures.figure_8.cost_quality import (
    COMPILED,
    KINDS,
    MIXED,
    Choice,
    choices,
    frontier,
    log_ticks,
    mixes_compiled,
)
from rmtscale.study.figures.figure_8.table import cost_table
from rmtscale.study.figures.figure_9 import drawing as figure_9
from rmtscale.study.figures.figure_9.table import proofs_table
from rmtscale.study.figures.figure_12 import drawing as figure_12
from rmtscale.study.figures.language.groups import (
    InputSize,
    input_sizes,
    mean_curve,
    mean_over_seeds,
)
from rmtscale.study.figures.language.lines import bits, limits
from rmtscale.study.figures.language.page import csv_of, how_it_was_made
from rmtscale.study.figures.language.published import Published
from rmtscale.study.figures.language.tables import losses_table
from rmtscale.study.records.language import LanguageRecord
from tests.drawn import points
from tests.synthetic.language import language, proofs, study


def test_numbers_say_what_was_compiled() -> None:
    plain, compiled = language(2), language(4, compile_step=True)
    assert "compile_step" not in csv_of([plain])
    rows = list(csv.DictReader(io.StringIO(csv_of([plain, compiled]))))
    assert [row["compile_step"] for row in rows] == ["", "1"]


def test_what_was_made_says_the_seeds_and_documents_of_all() -> None:
    """Not those of the first record, nor seeds that some models alone have."""
    each = [
        language(1, seed=seed, segment_size=size, name=f"a-{size}-{seed}")
        for size in (128, 256)
        for seed in (0, 1)
    ]
    assert ", seeds 0, 1. All" in how_it_was_made(each)
    assert ", seed 0, of some also 1. All" in how_it_was_made(each[:3])
    assert ", seeds 0, 1. All" in how_it_was_made([each[0], each[3]])
    assert "`rmtscale train --recipe NAME` has their settings" in how_it_was_made(each)
    run = "their settings are in `trainings/settings.jsonl` beside the records"
    assert run in how_it_was_made(each, noted=True)
    assert " of 12 documents of" in how_it_was_made(each)
    whole = each[2].whole
    fewer = replace(whole, tokens=(0, *whole.tokens[1:]))
    apart = replace(each[2], parts={**each[2].parts, "all": fewer})
    for records in ([each[0], apart], [apart, each[0]]):
        assert " of 11 and 12 documents of" in how_it_was_made(records)
    other = language(1, backbone="b", name="b-0")
    assert "Backbones b and gpt-synthetic, 4,000" in how_it_was_made([each[0], other])


@pytest.fixture(scope="module")
def size() -> InputSize:
    (one,) = input_sizes(study((128,), trained=(1, 2, 7), counts=(1, 2, 4, 7, 32)))
    return one


def drawn(axes: Any) -> list[dict[float, float]]:
    """The points of all lines."""
    return [
        dict(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True))
        for line in axes.lines
    ]


def test_figure_7_shows_means_seeds_and_baselines(size: InputSize) -> None:
    published = Published(128, 1.0, {2: {1: 0.9, 2: 0.8, 99: 0.5}})
    figure = figure_7.draw([size], {128: published}, "what it says")
    losses, changes, paper = figure.axes[:3]
    for runs in size.rmt.values():
        assert pytest.approx(mean_curve(runs, bits)) in drawn(losses)
        for curve in runs.values():
            assert {count: bits(one) for count, one in curve.items()} in drawn(losses)
    heights = [{y for _, y in points(line)} for line in losses.lines]
    for one in size.contexts.values():
        assert {mean_over_seeds(one, bits)} in heights
    shares = figure_7.change(size.rmt[7], size.own)
    assert pytest.approx({n: 100 * mean for n, (mean, _, _) in shares.items()}) in drawn(changes)
    # Segments that none of ours read are not drawn.
    assert pytest.approx({1: -10.0, 2: -20.0}) in drawn(paper)
    assert "what it says" in figure.get_suptitle()


def test_a_size_without_counterpart_has_no_third_row(size: InputSize) -> None:
    assert len(figure_7.draw([size], {}).axes) == 2


def test_changes_are_paired_with_the_baseline(size: InputSize) -> None:
    mean, low, high = figure_7.change(size.rmt[7], size.own)[7]

    def loss(record: LanguageRecord) -> float:
        return record.whole.mean_nats

    read = {seed: curve[7] for seed, curve in size.rmt[7].items()}
    own = mean_over_seeds(size.own, loss)
    assert mean == pytest.approx(mean_over_seeds(read, loss) / own - 1)
    assert low < mean < high < 0


def test_figure_8_shows_every_position(size: InputSize) -> None:
    above, below = figure_8.draw([size]).axes
    shown = [*drawn(above), *drawn(below)]
    for reader in figure_8.readers(size):
        losses = figure_8.mean_positions(reader.records)
        assert dict(enumerate(losses, 1)) in shown
    legend = above.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[:3] == [
        "no memory, context 4: 2.12 MFLOP",
        "memory, 2 segments: 4.23 MFLOP",
        "memory, 7 segments: 14.8 MFLOP",
    ]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=300))
def test_bins_hold_every_position_once(losses: list[float]) -> None:
    middles, means = figure_8.smoothed(losses)
    assert middles == sorted(middles)
    assert 1 <= middles[0] <= middles[-1] <= len(losses)
    assert min(losses) - 1e-9 <= min(means) <= max(means) <= max(losses) + 1e-9
    # The first positions stand alone; a bin further on is a third of a doubling.
    assert means[0] == losses[0]


def test_a_bin_is_the_mean_of_its_positions() -> None:
    middles, means = figure_8.smoothed([float(at) for at in range(1, 65)])
    # Edges, by hand: 2**(k / 3) without repeats, cut to whole numbers.
    assert middles[-1] == 64
    last = list(range(50, 64))
    assert means[-2] == pytest.approx(sum(last) / len(last))
    assert middles[-2] == pytest.approx(math.sqrt(50 * 63))


def test_figure_9_shows_losses_and_what_a_lemma_is_worth() -> None:
    found = figure_9.provers(proofs())
    figure = figure_9.draw(found)
    trainings = sorted({one.trained for one in found if not one.one_pass})
    grid = [
        figure.axes[at : at + len(trainings)] for at in range(0, 4 * len(trainings), len(trainings))
    ]
    assert grid[1][0].get_title(loc="left") == f"the last 236 tokens: trained on {trainings[0]}"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(legend) == {
        "memory",
        "no memory",
        "no memory, 472 tokens in one pass",
        "another lemma stands in its place",
    }
    assert [one.label(236) for one in found][:2] == [
        "no memory, 472 tokens in one pass",
        "no memory, trained on 2",
    ]
    for one in found:
        room = one.segment_tokens / 236  # a segment of 472 tokens lies at two
        columns = [
            at for at, trained in enumerate(trainings) if one.one_pass or trained == one.trained
        ]
        assert columns
        for at in columns:
            whole, last, names, worth = (row[at] for row in grid)
            for axes, part in ((whole, "all"), (last, "last-segment")):
                for curve in one.runs.values():
                    points = {n * room: read.parts[part].bits_per_byte for n, read in curve.items()}
                    assert points in drawn(axes)
            means = {n * room: mean for n, (mean, _, _) in figure_9.worth(one.runs).items()}
            assert means in drawn(worth)
            for part in ("names", "names-without"):
                points = {
                    n * room: read.parts[part].bits_per_byte for n, read in one.runs[0].items()
                }
                assert points in drawn(names)


def test_figure_12_has_one_scale_in_a_row(size: InputSize) -> None:
    published = {
        way: Published(128, 1.0, {2: {1: 0.9, 2: low}})
        for way, low in (("fixed", 0.6), ("mixing", 0.8))
    }
    figure = figure_12.draw({"fixed": size, "mixing": size}, published)
    ours, others = figure.axes[:2], figure.axes[2:]
    for pair in (ours, others):
        assert pair[0].get_ylim() == pair[1].get_ylim()
    assert {1: 0.9, 2: 0.6} in drawn(others[0])
    assert len(figure_12.draw({"fixed": size, "mixing": size}, {}).axes) == 2


def test_in_a_stream_a_block_costs_one_segment(size: InputSize) -> None:
    found = choices(size)
    by_kind = {kind: {one.size: one for one in found if one.kind == kind} for kind in KINDS}
    assert list(by_kind[KINDS[0]]) == list(size.contexts)
    assert list(by_kind[KINDS[1]]) == [1, 2, 4, 7]
    assert list(by_kind[KINDS[2]]) == [2, 4, 7]
    for count, one in by_kind[KINDS[2]].items():
        anew, first = by_kind[KINDS[1]][count], by_kind[KINDS[1]][1]
        assert (one.bits_per_byte, one.flops, one.seconds) == (
            anew.bits_per_byte,
            first.flops,
            first.seconds,
        )
    record = size.rmt[7][0][4]
    assert by_kind[KINDS[1]][4].flops == record.forward_flops / 124
    assert by_kind[KINDS[0]][128].seconds == pytest.approx(
        mean_over_seeds(size.contexts[128], lambda one: one.seconds / (240 * 124))
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=12
    )
)
def test_the_frontier_is_what_nobody_beats(numbers: list[tuple[int, int, int]]) -> None:
    found = [Choice(KINDS[0], 1, loss, flops, seconds) for loss, flops, seconds in numbers]
    for cost in ("flops", "seconds"):
        best = frontier(found, cost)

        def price(one: Choice, cost: str = cost) -> float:
            return float(getattr(one, cost))

        for one in found:
            beaten = any(
                other.bits_per_byte <= one.bits_per_byte
                and price(other) <= price(one)
                and (other.bits_per_byte, price(other)) != (one.bits_per_byte, price(one))
                for other in found
            )
            places = {(other.bits_per_byte, price(other)) for other in best}
            assert ((one.bits_per_byte, price(one)) in places) is not beaten
        assert len({(one.bits_per_byte, price(one)) for one in best}) == len(best)


def test_the_picture_of_costs_shows_the_numbers_of_the_table(size: InputSize) -> None:
    left, right = cost_quality.draw([size]).axes
    shown = {place for axes in (left, right) for line in axes.lines for place in points(line)}
    for row in cost_table(size).rows:
        flops, seconds, loss = (cell.number for cell in row[1:4])
        assert (flops, loss) in shown
        assert (seconds, loss) in shown
    ways = cost_quality.choices(size)
    anew = [way for way in ways if way.kind != cost_quality.KINDS[2]]
    best = {
        (read, cost): {(way.flops, way.seconds, way.bits_per_byte) for way in frontier(among, key)}
        for read, among in (("anew", anew), ("stream", ways))
        for cost, key in (("FLOPs", "flops"), ("time", "seconds"))
    }
    marks = set()
    for row in cost_table(size).rows:
        place = tuple(cell.number for cell in row[1:4])
        in_stream = row[0].text.endswith(", in a stream")
        for (read, cost), places in best.items():
            said = row[4].text.split(", ")
            wanted = place in places and not (read == "anew" and in_stream)
            assert (read in said or f"{read} ({cost})" in said) is wanted
            marks |= {(read, in_stream)} if wanted else set()
    assert marks == {("anew", False), ("stream", False), ("stream", True)}


def compiled_with_memory(counts: set[int]) -> InputSize:
    """Compiled where a model with memory read so many segments."""
    (own,) = input_sizes(
        replace(
            one,
            point=replace(
                one.point,
                compile_step=bool(one.model.memory_tokens) and one.point.segments in counts,
            ),
        )
        for one in study((128,), trained=(2,), counts=(1, 2))
    )
    return own


def test_the_table_of_costs_says_which_times_were_compiled() -> None:
    """A stream has the time of one segment, and how that was read."""

    def times(compiled: set[int]) -> tuple[dict[str, str], str]:
        table = cost_table(compiled_with_memory(compiled))
        return {row[0].text: row[2].text.partition(", ")[2] for row in table.rows}, table.note

    plain, note = times(set())
    assert set(plain.values()) == {""}
    assert "compiled" not in note
    mixed, note = times({1})
    assert {name for name, how in mixed.items() if how == "compiled"} == {
        "memory, 1 segment",
        "memory, 2 segments, in a stream",
    }
    assert note.endswith(" Not all was compiled, so that times differ by that too.")
    assert times({2})[0]["memory, 2 segments"] == "compiled"


@pytest.mark.usefixtures("unpainted")
def test_the_picture_of_costs_rings_compiled_times_where_both_kinds_are_mixed() -> None:
    def rings(own: InputSize) -> tuple[list[list[tuple[float, float]]], list[bool], bool]:
        """Of both panels the rings and whether they say it; and whether the legend does."""
        figure = cost_quality.draw([own])
        every = [
            [line for line in axes.lines if line.get_gid() == COMPILED] for axes in figure.axes
        ]
        said = [any(MIXED in text.get_text() for text in axes.texts) for axes in figure.axes]
        (legend,) = figure.legends
        return (
            [[point for line in lines for point in points(line)] for lines in every],
            said,
            COMPILED in [text.get_text() for text in legend.texts],
        )

    own = compiled_with_memory({1})
    wanted = {(way.seconds, way.bits_per_byte) for way in choices(own) if way.compiled}
    assert len(wanted) == 2  # one segment, and two in a stream
    (flops, time), said, named = rings(own)
    assert (flops, said, named) == ([], [False, True], True)
    assert set(time) == wanted
    alike = [compiled_with_memory(set())]
    alike += input_sizes(
        replace(one, point=replace(one.point, compile_step=True))
        for one in study((128,), trained=(2,), counts=(1, 2))
    )
    for one in alike:
        assert rings(one) == ([[], []], [False, False], False)


def test_seeds_that_differ_are_mixed_too() -> None:
    one, other = (Choice(KINDS[0], 1, 1.0, 1.0, 1.0, ran) for ran in ((True, False), (False,)))
    assert mixes_compiled([one])
    assert not one.compiled
    assert not mixes_compiled([other, other])


@given(st.floats(1e-9, 1e12), st.floats(1.0, 1e4))
def test_ticks_are_round_and_apart(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio)
    assert all(low * 0.9 <= tick <= low * ratio * 1.1 for tick in ticks)
    steps = [math.log(b / a) for a, b in pairwise(ticks)]
    assert all(step >= max(math.log(ratio), 0.3) / 6 - 1e-9 for step in steps)


def test_limits_hold_what_is_known_and_cut_what_breaks_down() -> None:
    low, high = limits([1.0, 2.0], [1.5, 9.0])
    assert low < 1.0
    assert 2.3 < high < 2.5
    assert limits([1.0, 2.0], [2.1])[1] == pytest.approx(2.1 + 0.06 * 1.1)
    assert limits([1.0, math.nan])[0] < 1.0


def test_tables_hold_the_numbers_of_the_records(size: InputSize) -> None:
    table = losses_table(size)
    assert table.columns == ("segments read", "trained on 1", "trained on 2", "trained on 7")
    for row in table.rows:
        for runs, cell in zip(size.rmt.values(), row[1:], strict=True):
            assert cell.number == pytest.approx(mean_curve(runs, bits)[int(row[0].number or 0)])
    assert "no memory, context 900: 0.7188 (4.46)." in table.note
    found = figure_9.provers(proofs(trained=(2,)))
    first, *rows = proofs_table(found).rows
    assert first[0].text == "no memory, 472 tokens in one pass"
    assert [row[0].text for row in rows[::6]] == ["no memory, trained on 2", "memory, trained on 2"]
    runs = found[-1].runs
    assert rows[7][4].number == pytest.approx(
        (runs[0][2].parts["names"].bits_per_byte + runs[1][2].parts["names"].bits_per_byte) / 2
    )
