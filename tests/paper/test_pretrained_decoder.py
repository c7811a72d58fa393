"""The page of a pretrained decoder, from records and at toy size; what its recipes compare."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.collections import LineCollection
from matplotlib.text import Annotation, Text

from rmtscale.errors import BadInput
from rmtscale.study.figures.language.groups import InputSize, input_sizes
from rmtscale.study.figures.language.lines import size_name
from rmtscale.study.figures.language.plan import Plan, plan
from rmtscale.study.figures.language.recipes import SEEDS
from rmtscale.study.figures.pretrained_decoder.claims import (
    answer,
    answer_repeats,
    answer_sinks,
    check_claims,
    context_gains,
    curricula,
    curriculum_claims,
    gains,
    gains_over,
    repeat_pairs,
    shown_alone,
    sink_pairs,
    ways_of,
)
from rmtscale.study.figures.pretrained_decoder.drawing import draw
from rmtscale.study.figures.pretrained_decoder.names import (
    names_beside,
    short_names,
    way_name,
    what_names_say,
)
from rmtscale.study.figures.pretrained_decoder.recipes import READ, TRAININGS, recipes
from rmtscale.study.figures.pretrained_decoder.tables import (
    curriculum_table,
    gains_tables,
    losses_tables,
    repeats_table,
    sinks_table,
    trainings_table,
)
from rmtscale.study.records.clusters import bits_interval, paired_difference
from rmtscale.study.records.language import (
    ALL_WEIGHTS,
    LORA,
    MEMORY,
    UNTOUCHED,
    LanguageRecord,
)
from tests.command_line import Command
from tests.drawn import points
from tests.synthetic.language import baseline, curve, shifted

REPORTS = Path(__file__).parents[2] / "reports"
SIZES = {256: 192, 512: 448}
CONTEXTS = {256: (64, 280, 752), 512: (64, 536, 1520)}
"""No more positions than a segment; the text of two and of four segments of 10 memory tokens."""


def way(
    size: int, memory: int, changed: str, seeds: Iterable[int] = SEEDS, **more: Any
) -> list[LanguageRecord]:
    """An RMT trained on 4 segments in one way."""
    found = []
    for seed in seeds:
        found += curve(
            READ,
            segment_size=size,
            memory_tokens=memory,
            block_tokens=SIZES[size],
            trained_segments=4,
            trained_weights=changed,
            name=f"{changed}-{size}-{memory}-{seed}",
            seed=seed,
            **more,
        )
    return found


def contexts(size: int, changed: str, **more: Any) -> list[LanguageRecord]:
    return [
        baseline(
            context,
            block_tokens=SIZES[size],
            trained_weights=changed,
            name=f"{changed}-context-{size}-{context}-{seed}",
            seed=seed,
            **more,
        )
        for context in CONTEXTS[size]
        for seed in SEEDS
    ]


def study() -> list[LanguageRecord]:
    """Both sizes, three memories of all weights, LoRA, memory alone, and none of each kind."""
    records = []
    for size in SIZES:
        for memory in (2, 10, 32):
            records += way(size, memory, ALL_WEIGHTS, shift=-0.05)
        records += way(size, 10, LORA, shift=-0.05) + way(size, 10, MEMORY, shift=0.5)
        for changed in (ALL_WEIGHTS, LORA, UNTOUCHED):
            records += contexts(size, changed)
    return records


def fixed(size: int, **more: Any) -> list[LanguageRecord]:
    """Trained on fixed lengths; worse at 16 segments than mixed ones, as in the paper."""
    found = []
    for seed in SEEDS:
        found += curve(
            READ,
            segment_size=size,
            memory_tokens=10,
            block_tokens=SIZES[size],
            trained_segments=4,
            trained_weights=ALL_WEIGHTS,
            trained_mixing=False,
            name=f"fixed-{size}-{seed}",
            shift=-0.05,
            seed=seed,
            **more,
        )
    return shifted(found, lambda one: 0.02 * (one.point.segments > 4))


def full_plan(**given: Any) -> Plan:
    texts = {"texts": {"latex": "L"}, "backbone": "B", **given}
    return plan(TRAININGS, quick=False, runs=Path("runs"), **texts)


def test_ways_are_held_against_their_like() -> None:
    ways = ways_of(study())
    found = [(one.segment_size, one.trained_weights, one.memory_tokens) for one in ways]
    each = [(ALL_WEIGHTS, 2), (ALL_WEIGHTS, 10), (ALL_WEIGHTS, 32), (LORA, 10), (MEMORY, 10)]
    assert found == [(size, *one) for size in SIZES for one in each]
    for one in ways:
        wanted = UNTOUCHED if one.trained_weights == MEMORY else one.trained_weights
        assert {record.model.changed for record in one.own.values()} == {wanted}
        assert (one.own_context, *one.larger_contexts) == CONTEXTS[one.segment_size]
    names = {size_name(one, ways) for one in ways}
    assert len(names) == 10
    assert "input 256, 10 memory tokens, LoRA" in names
    chosen = [(one.trained_weights, one.memory_tokens) for one in shown_alone(ways)]
    assert chosen == [(ALL_WEIGHTS, 10)] * 2


def test_records_that_do_not_say_what_was_trained_are_one_group() -> None:
    """Those of releases before, all weights of them."""
    old = [*curve((1, 2)), baseline(4)]
    new = [*curve((1, 2), trained_weights=ALL_WEIGHTS, name="new", seed=1)]
    assert old[0].model.trained_weights is None
    (size,) = input_sizes([*old, *new])
    assert set(size.rmt[7]) == {0, 1}


def test_claims() -> None:
    ways = ways_of(study())
    claims = {claim.text: claim for claim in check_claims(ways)}
    assert sink_pairs(ways) == []
    assert len(claims) == 5 * len(ways)
    below = {
        text: claim.outcome for text, claim in claims.items() if text.endswith("below no memory")
    }
    assert set(below.values()) == {"pass", "fail"}
    for text, outcome in below.items():
        assert (outcome == "fail") == ("memory only" in text), text
    true = [claim for text, claim in claims.items() if "true context" in text]
    assert {claim.outcome for claim in true} == {"pass"}
    assert "context 752 less 4 segments" in true[1].ours


def test_a_second_segment_has_to_bring_something() -> None:
    """Table 1: reading two segments is held against reading one, by the very same model."""
    text = "input 256, 2 memory tokens, all weights: two segments below one"
    worse = shifted(study(), lambda one: 0.2 * (one.point.segments == 2))
    for found, outcome in ((study(), "pass"), (worse, "fail")):
        claims = {claim.text: claim for claim in check_claims(ways_of(found))}
        assert claims[text].outcome == outcome
        assert claims[text].ours.startswith("seed 0, 2 less 1: ")


def test_losses_are_those_of_the_records() -> None:
    found = study()
    ways = [one for one in ways_of(found) if one.segment_size == 256]
    tables = losses_tables(ways)
    assert len(tables) == len(ways) == 5

    def mean(changed: str, memory: int, segments: int, size: int) -> float:
        each = [
            bits_interval(one.whole).mean
            for one in found
            if (one.model.changed, one.model.memory_tokens) == (changed, memory)
            and (one.point.segments, one.model.segment_size) == (segments, size)
        ]
        assert len(each) == len(SEEDS)
        return sum(each) / len(each)

    for trained, table in zip(ways, tables, strict=True):
        changed, memory = trained.trained_weights, trained.memory_tokens
        assert table.title.startswith(f"{changed}, {memory} memory tokens, ")
        assert table.title.endswith(" parameters trained")
        assert table.columns == ("read with", "1 segment", "2 segments", "4 segments")
        like = UNTOUCHED if changed == MEMORY else changed
        wanted = {
            "no memory": [mean(like, 0, 1, 256)],
            "memory": [mean(changed, memory, count, 256) for count in (1, 2, 4)],
            "no memory, context 280": [mean(like, 0, 1, 192 + 280)],
            "no memory, context 752": [mean(like, 0, 1, 192 + 752)],
        }
        assert [row[0].text for row in table.rows] == list(wanted)
        for row in table.rows:
            shown = [cell.number for cell in row[1:] if cell.text]
            assert shown == pytest.approx(wanted[row[0].text])
    (alone,) = losses_tables(ways_of(way(256, 10, LORA)))
    assert [row[0].text for row in alone.rows] == ["memory"]


def test_means_of_more_seeds_than_others_say_so() -> None:
    """Only where they differ: most tables say it of none."""
    second = named("w", way(256, 10, ALL_WEIGHTS, trained_start_segments=2, seeds=[0]))
    whole = [one for one in study() if one.point.block_tokens == SIZES[256]]
    several = ways_of([*whole, *second])
    ten = [one for one in several if one.memory_tokens == 10][:2]
    (lost,) = losses_tables(ten)
    assert lost.note == (
        "Of 2 seeds, others of 1: no memory; memory; no memory, context 280; "
        "no memory, context 752."
    )
    (gained,) = gains_tables(ten)
    assert gained.columns == ("read", "memory", "from 2")
    assert gained.note.endswith(" Of 2 seeds, others of 1: memory.")
    for table in [*losses_tables(ways_of(whole)), *gains_tables(ways_of(whole))]:
        assert "seeds" not in table.markdown()
    # A mean over the seeds that both have is of those alone.
    first = [one for one in contexts(256, ALL_WEIGHTS) if one.model.seed == 0]
    (gained,) = gains_tables(ways_of([*way(256, 10, ALL_WEIGHTS), *first, *second]))
    assert "seeds" not in gained.note


@pytest.mark.usefixtures("unpainted")
def test_what_nothing_is_held_against_has_no_table_and_no_panel() -> None:
    """Memory alone at input 512, whose untouched models were not evaluated."""
    records = [
        one
        for one in study()
        if (one.point.block_tokens, one.model.changed) != (SIZES[512], UNTOUCHED)
    ]
    ways = [one for one in ways_of(records) if one.segment_size == 512]
    assert MEMORY in {one.trained_weights for one in ways}
    assert all(table.rows and MEMORY not in table.title for table in gains_tables(ways))
    assert len(gains_tables(ways)) == 4
    lost = losses_tables(ways)[-1]
    assert lost.title.startswith(MEMORY)
    assert [row[0].text for row in lost.rows] == ["memory"]
    titles = [axes.get_title("left") for axes in draw(ways_of(records)).axes]
    assert f"input 256, trained: {MEMORY}" in titles
    assert f"input 512, trained: {MEMORY}" not in titles
    assert len(titles) == 5


def test_the_answer_holds_both_sizes_and_counts_the_others() -> None:
    ways = ways_of(_worse(study()))
    alone = shown_alone(ways)
    amounts = [
        (gains(one)[4].mean, min(gap.mean for gap in context_gains(one).values())) for one in alone
    ]
    (worse, true), (other, longer) = amounts
    assert min(worse, other) > 0 > max(true, longer)
    found = answer(alone, ways)
    begin = (
        f"Read at 4 segments, as trained, memory worsens bits per byte by {worse:.4f} at input 256 "
        f"(true context improves them by {-true:.4f}) and by {other:.4f} at input "
        f"512 (true context improves them by {-longer:.4f})"
    )
    assert found.startswith(begin)
    assert found == f"{begin}; none of the 8 other trainings with memory improves them"
    mixed = [*_worse([one for one in study() if one.model.memory_tokens != 2])]
    mixed += [one for one in study() if one.model.memory_tokens == 2]
    assert answer(shown_alone(ways_of(mixed)), ways_of(mixed)).endswith(
        "; 2 of the 8 other trainings with memory improve them"
    )
    assert answer(alone) == begin
    other_lengths = [
        replace(one, model=replace(one.model, trained_segments=8))
        if one.model.changed == LORA
        else one
        for one in _worse(study())
    ]
    assert answer(alone, ways_of(other_lengths)).startswith(
        "Read as trained, memory worsens bits per "
    )
    assert answer(ways_of(way(256, 10, LORA))).endswith("none without it to compare with")


def test_gains_are_thousandths_with_half_of_their_intervals() -> None:
    ways = ways_of([*study(), *variants()])
    own = [one for one in ways if one.segment_size == 256]
    tables = {table.title: table for table in gains_tables(own)}
    assert list(tables) == [
        *(f"all weights, {count} memory tokens" for count in (2, 10, 32)),
        "LoRA, 10 memory tokens",
        "memory only, 10 memory tokens",
    ]
    lora = tables["LoRA, 10 memory tokens"]
    assert lora.columns == (
        *("read", "memory", "repeats", "from 2", "sink"),
        *("sink, from 2", "sink, from 2, repeats"),
    )
    each = [one for one in own if one.trained_weights == LORA]
    for row, count in zip(lora.rows, READ, strict=True):
        assert row[0].number == count
        for cell, one in zip(row[1:], each, strict=True):
            gain = gains(one)[count]
            assert cell.number == gain.mean
            mean, half = map(float, cell.text.split(" ± "))
            assert mean == pytest.approx(1000 * gain.mean, abs=0.051)
            assert half == pytest.approx(500 * (gain.high - gain.low), abs=0.051)
    for context, gain in context_gains(each[0]).items():
        assert f"{context} tokens {1000 * gain.mean:+.1f} ± " in lora.note


def test_tables_of_the_committed_records_fit_into_a_terminal() -> None:
    """All but the claims, whose rows are sentences."""
    page = (REPORTS / "pretrained-decoder/README.md").read_text(encoding="utf-8")
    tables, _ = page.split("## Claims")
    rows = [line for line in tables.splitlines() if line.startswith("|")]
    assert len(rows) > 60
    assert [row for row in rows if len(row) > 80] == []


def variants() -> list[LanguageRecord]:
    """LoRA with all that its memory can have, at input 256."""
    later: dict[str, Any] = {"trained_start_segments": 2}
    half: dict[str, Any] = {"trained_repeat_share": 0.5, "trained_repeat_until": 0.7}
    kinds = (
        {"sink_tokens": 1},
        later,
        {"sink_tokens": 1, **later},
        {"sink_tokens": 1, **later, **half},
        half,
    )
    return [
        record
        for number, more in enumerate(kinds)
        for record in named(f"v{number}", way(256, 10, LORA, **more))
    ]


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


def test_trainings_say_once_what_all_have() -> None:
    table = trainings_table(ways_of(study()))
    assert "steps" not in table.columns
    assert len(table.rows) == len({row[0].text for row in table.rows}) == 2 * (5 + 9)
    steps = {one.model.trained_steps for one in study() if one.model.changed != UNTOUCHED}
    assert f"All took {steps.pop():,} steps, but for those of models that stay" in table.note
    assert "Names begin" not in table.note
    assert "Of several seeds the first stands here." in table.note
    alone = [one for one in study() if one.model.seed == SEEDS[0]]
    assert "seeds" not in trainings_table(ways_of(alone)).note
    longer = [
        replace(one, model=replace(one.model, name=f"a-b-{one.model.name}", trained_steps=7))
        if one.model.changed == LORA
        else replace(one, model=replace(one.model, name=f"a-b-c-{one.model.name}"))
        for one in study()
    ]
    table = trainings_table(ways_of(longer))
    assert table.columns[1] == "steps"
    assert {row[1].number for row in table.rows if "`LoRA" in row[0].text} == {7}
    assert table.note.startswith("Names begin with `a-b-`. Of several seeds")


def test_fixed_lengths_stand_beside_mixed_ones_and_nowhere_else() -> None:
    both = [*study(), *fixed(256)]
    ways = ways_of(both)
    assert ways == ways_of(study())
    (pair,) = curricula(both, shown_alone(ways))
    assert pair["mixing"] == shown_alone(ways)[0]
    assert {one.model.name for one in pair["fixed"].with_memory} == {"fixed-256-0", "fixed-256-1"}
    claims = curriculum_claims([pair])
    assert [claim.outcome for claim in claims] == ["pass", "pass"]
    assert "seed 0, read 16: " in claims[1].ours
    table = curriculum_table([pair])
    assert [row[0].number for row in table.rows] == list(READ)
    for row, count in zip(table.rows, READ, strict=True):
        gaps = [
            paired_difference(
                pair["mixing"].rmt[4][seed][count].whole, pair["fixed"].rmt[4][seed][count].whole
            ).mean
            for seed in SEEDS
        ]
        assert row[1].number == pytest.approx(sum(gaps) / len(gaps))
    worse = shifted(both, lambda one: 0.1 * (one.model.trained_mixing and one.point.segments == 16))
    (pair,) = curricula(worse, shown_alone(ways_of(worse)))
    assert [claim.outcome for claim in curriculum_claims([pair])] == ["pass", "fail"]
    assert curricula(study(), shown_alone(ways)) == []
    short = [replace(one, model=replace(one.model, trained_segments=1)) for one in study()]
    assert curricula(short, shown_alone(ways_of(short))) == []
    assert curriculum_claims([]) == []
    with pytest.raises(BadInput, match="expected models with memory, trained on mixed lengths"):
        ways_of(fixed(256))


def test_without_a_baseline_nothing_is_claimed() -> None:
    ways = ways_of(way(256, 10, LORA))
    claims = check_claims(ways)
    assert claims[0].outcome == "not measurable"
    assert gains(ways[0]) == {}
    with pytest.raises(BadInput, match="expected models with memory"):
        ways_of(contexts(256, LORA))


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


def test_recipes_compare_what_is_comparable() -> None:
    wanted = full_plan()
    assert {one.seed for one in wanted.recipes.values()} == set(SEEDS)
    for size, block in SIZES.items():
        family = {name: one for name, one in wanted.recipes.items() if f"smollm2-{size}-" in name}
        assert len(family) == 2 * (3 + 1 + 2 + 9 + 3 + 4 + 2)
        assert {one.backbone for one in family.values()} == {"B"}
        assert {one.scored_tokens for one in family.values()} == {block}
        assert len({one.least_history_tokens for one in family.values()}) == 1
        assert len({one.batch_size for one in family.values()}) == 1
        assert {wanted.history_tokens[name] for name in family} == {16 * (size - 4) - block}
        by_way: dict[str, list[Any]] = {}
        for one in family.values():
            by_way.setdefault(one.trained_weights, []).append(one)
        assert {len({one.steps for one in alike}) for alike in by_way.values()} == {1}
        assert {len({one.learning_rate for one in alike}) for alike in by_way.values()} == {1}
        assert [len(by_way[key]) for key in (ALL_WEIGHTS, LORA, MEMORY, UNTOUCHED)] == [
            22,
            16,
            4,
            6,
        ]
        for name, one in family.items():
            assert wanted.read[name] == (READ if one.memory_tokens else (1,))
            assert one.keeps_trained_part == (one.trained_weights != ALL_WEIGHTS)
            if one.memory_tokens == 10:
                assert 4 * one.segment_tokens - one.scored_tokens in (752, 1520)
    with pytest.raises(BadInput, match="no pretrained backbone: expected --backbone"):
        full_plan(backbone=None)


def test_theorems_are_the_same_with_memory_and_without() -> None:
    family = [one for name, one in recipes().items() if name.startswith("smollm2-lean-")]
    assert len(family) == len(SEEDS) * (2 * 2 + 1)
    assert {one.task for one in family} == {"lemma-proof"}
    assert {one.steps for one in family} == {800}
    assert {(one.backbone, one.tokenizer, one.init_from) for one in family} == {("", None, None)}
    assert {str(one.task_options) for one in family} == {"{'most_tokens': 236}"}
    for many in (2, 4):
        rmt, apart = (recipes()[f"smollm2-lean-{way}-{many}-0"] for way in ("rmt", "apart"))
        assert replace(rmt, memory_tokens=0, segment_size=236) == apart
        assert rmt.segment_tokens == apart.segment_tokens == 236
        assert rmt.segments == many
    beside = recipes()["smollm2-lean-beside-1"]
    assert (beside.segment_tokens, beside.segments, beside.seed) == (472, 1, 1)


def test_names_of_recipes() -> None:
    known = recipes()
    for name in ("smollm2-256-rmt-10-0", "smollm2-512-untouched-context-64-1"):
        assert name in known
    assert known["smollm2-256-lora-rmt-10-0"].lora_rank == 16
    mixed, alike = known["smollm2-256-rmt-10-0"], known["smollm2-256-rmt-10-fixed-0"]
    assert replace(alike, mixing=True) == mixed
    assert mixed.mixing
    assert not alike.mixing
    assert known["smollm2-256-memory-rmt-10-0"].memory_only


def test_recipes_with_a_sink_or_repeats_differ_in_nothing_else() -> None:
    known = recipes()
    repeat = {name: one for name, one in known.items() if "-repeat-" in name}
    assert len(repeat) == len(SEEDS) * len(SIZES) * 2
    for name, one in repeat.items():
        assert (one.repeat_share, one.repeat_until) == (0.5, 0.7)
        plain = replace(one, repeat_share=0.0, repeat_until=1.0)
        assert plain == known[name.replace("-repeat-", "-")]
    known = {name: one for name, one in known.items() if name not in repeat}
    sinks = {name: one for name, one in known.items() if "-sink-" in name}
    assert len(sinks) == len(SEEDS) * len(SIZES) * 5 + 1
    for name, one in sinks.items():
        assert one.sink_tokens == 1
        assert replace(one, sink_tokens=0) == known[name.replace("-sink-", "-")]
    later = {name: one for name, one in known.items() if "-from-2-" in name}
    assert len(later) == len(SEEDS) * len(SIZES) * 4
    for name, one in later.items():
        assert one.start_segments == 2
        assert replace(one, start_segments=1) == known[name.replace("-from-2-", "-")]


def test_a_sink_stands_beside_the_same_memory_without() -> None:
    plain = [one for one in study() if one.point.block_tokens == 192]
    sink = way(256, 10, ALL_WEIGHTS, shift=-0.05, sink_tokens=1)
    sink = [replace(one, point=replace(one.point, weights=f"s{one.point.weights}")) for one in sink]
    sink = shifted(sink, lambda one: -0.1 * (one.point.segments > 1))
    ways = ways_of([*plain, *sink])
    assert [one for one in ways if not one.sink_tokens] == ways_of(plain)
    assert shown_alone(ways) == shown_alone(ways_of(plain))
    ((with_one, like),) = sink_pairs(ways)
    assert (with_one.sink_tokens, like.sink_tokens) == (1, 0)
    assert (like.memory_tokens, like.trained_weights) == (10, ALL_WEIGHTS)
    found = gains_over(with_one, like)
    assert set(found) == set(READ)
    for count in READ:
        gaps = [
            paired_difference(with_one.rmt[4][seed][count].whole, like.rmt[4][seed][count].whole)
            for seed in SEEDS
        ]
        assert found[count].mean == pytest.approx(sum(gap.mean for gap in gaps) / len(gaps))
    assert found[1].mean == pytest.approx(0, abs=1e-3)
    assert found[4].mean < -0.04
    table = sinks_table([(with_one, like)])
    assert table.columns == ("read", "all weights")
    assert [row[1].number for row in table.rows] == [found[count].mean for count in READ]
    name = "input 256, 10 memory tokens (1 sink), all weights"
    text = f"{name}: 4 segments, below the same memory without a sink"
    for records, outcome in (([*plain, *sink], "pass"), ([*plain, *_worse(sink)], "fail")):
        own = ways_of(records)
        claims = {claim.text: claim for claim in check_claims(own)}
        assert claims[text].outcome == outcome
        assert ("improves" if outcome == "pass" else "worsens") in answer_sinks(sink_pairs(own))
    alone = ways_of(sink)
    assert sink_pairs(alone) == []
    later = way(256, 10, LORA, trained_start_segments=2)
    (own_way,) = ways_of(later)
    texts = [claim.text for claim in check_claims([own_way])]
    assert not any("below one" in one for one in texts), "one segment was never trained"


def test_repeated_text_stands_beside_the_same_memory_without() -> None:
    """Each with a sink or none; a sink is asked about where both repeat as much."""
    plain = [one for one in study() if one.point.block_tokens == 192]
    sink = named("s", way(256, 10, LORA, shift=-0.05, sink_tokens=1))
    half: dict[str, Any] = {"trained_repeat_share": 0.5, "trained_repeat_until": 0.7}
    again = named("r", way(256, 10, LORA, shift=-0.05, sink_tokens=1, **half))
    again = shifted(again, lambda one: -0.1 * (one.point.segments > 1))
    ways = ways_of([*plain, *sink, *again])
    assert repeat_pairs(ways_of([*plain, *sink])) == []
    assert shown_alone(ways) == shown_alone(ways_of(plain))
    ((with_sink, _),) = sink_pairs(ways)
    assert with_sink.repeat_share == 0
    ((repeats, like),) = repeat_pairs(ways)
    assert (repeats.repeat_share, repeats.repeat_until, like.repeat_share) == (0.5, 0.7, 0.0)
    assert repeats.sink_tokens == like.sink_tokens == 1
    assert like == with_sink
    table = repeats_table([(repeats, like)])
    assert table.columns == ("read", "LoRA, sink")
    found = gains_over(repeats, like)
    assert [row[1].number for row in table.rows] == [found[count].mean for count in READ]
    assert found[1].mean == pytest.approx(0, abs=1e-3)
    assert found[4].mean < -0.04
    name = "input 256, 10 memory tokens (1 sink), LoRA, 50 % repeated until 70 %"
    assert size_name(repeats, ways) == name
    text = f"{name}: 4 segments, below the same memory trained on ordinary text alone"
    for records, outcome in ((again, "pass"), (_worse(again), "fail")):
        own = ways_of([*plain, *sink, *records])
        claims = {claim.text: claim for claim in check_claims(own)}
        assert claims[text].outcome == outcome
        said = answer_repeats(repeat_pairs(own))
        assert ("improves" if outcome == "pass" else "worsens") in said
    other = named("o", way(256, 10, LORA, sink_tokens=1, trained_repeat_share=0.5))
    assert len({size_name(one, ways) for one in ways_of([*again, *other])}) == 2


def named(start: str, records: list[LanguageRecord]) -> list[LanguageRecord]:
    """Gives them weights of their own."""
    return [
        replace(one, point=replace(one.point, weights=f"{start}{one.point.weights}"))
        for one in records
    ]


def _worse(records: list[LanguageRecord]) -> list[LanguageRecord]:
    return shifted(records, lambda one: 0.3 * (one.point.segments > 1))


def test_the_page_from_records(rmtscale: Command, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    sink = named("s", way(256, 10, LORA, sink_tokens=1))
    again = named("r", way(256, 10, LORA, sink_tokens=1, trained_repeat_share=0.5))
    records = [*study(), *fixed(256), *sink, *again]
    file.write_text("".join(record.to_line() + "\n" for record in records), encoding="utf-8")
    out = tmp_path / "out"
    done = rmtscale("reproduce", "pretrained-decoder", "--records", str(file), "--out", str(out))
    assert done.code == 1  # memory alone is made to fail
    page = (out / "README.md").read_text(encoding="utf-8")
    assert "All weights, 10 memory tokens:\n\n| read | memory |\n" in page
    assert "LoRA, 10 memory tokens:\n\n| read | memory | sink | sink, repeats |\n" in page
    assert "True context: 280 tokens " in page
    assert "## What is trained\n" in page
    assert "**Input 256: Mixing lengths in training changes the loss by" in page
    words = " ".join(page.split())
    assert re.search(r"segments; of the lengths in between, by [+-]0\.\d{4} at 2\.\*\*", words)
    for size in SIZES:
        assert f"At input {size}, 2, 10 and 32 memory tokens leave 60, 44 and 0 tokens of" in words
        assert f"### Input {size}, trainings\n" in page
    assert "in place of the 64 without memory" in words
    assert "`fixed-256-0`" in page
    assert "## A sink in the memory\n\n**A sink token " in page
    assert "## Repeated text in training\n\n**Repeated text in training " in page
    assert "| read | LoRA, sink |\n" in page
    assert "*repeats*: 50 % of the batches repeat the segment before." in " ".join(page.split())
    assert {"pretrained-decoder.png", "positions.png", "cost-quality.png"} <= {
        path.name for path in out.iterdir()
    }
    rows = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert len(rows) == len(records)


def test_a_backbone_is_of_pretrained_figures_only(rmtscale: Command, tmp_path: Path) -> None:
    refused = rmtscale("reproduce", "figure-7", "--quick", "--backbone", "x")
    assert refused.code == 2
    assert "--backbone 'x' with figure-7: expected pretrained-decoder" in refused.err
    out = str(tmp_path / "page")
    missing = rmtscale("reproduce", "pretrained-decoder", "--text", "latex=python", "--out", out)
    assert missing.code == 2
    assert "no pretrained backbone: expected --backbone with a folder" in missing.err
