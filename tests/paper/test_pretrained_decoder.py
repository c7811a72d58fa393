"""The page of a pretrained decoder, from records and at toy size; what its recipes compare."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Annotation, Text

from rmtscale.errors import BadInput
from rmtscale.study.figures.language.groups import input_sizes
from rmtscale.study.figures.language.lines import size_name
from rmtscale.study.figures.language.plan import Plan, plan
from rmtscale.study.figures.language.recipes import SEEDS
from rmtscale.study.figures.pretrained_decoder.claims import (
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
from rmtscale.study.figures.pretrained_decoder.drawing import BELOW, draw, way_name
from rmtscale.study.figures.pretrained_decoder.recipes import READ, TRAININGS, recipes
from rmtscale.study.figures.pretrained_decoder.tables import (
    curriculum_table,
    losses_table,
    repeats_table,
    sinks_table,
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
    table = losses_table(ways)
    assert table.columns == (
        "trained",
        "parameters trained",
        "no memory",
        "1 segment",
        "2 segments",
        "4 segments",
        "true context, 280 tokens",
        "true context, 752 tokens",
    )
    assert len(table.rows) == len(ways) == 5

    def mean(changed: str, memory: int, segments: int, size: int) -> float:
        each = [
            bits_interval(one.whole).mean
            for one in found
            if (one.model.changed, one.model.memory_tokens) == (changed, memory)
            and (one.point.segments, one.model.segment_size) == (segments, size)
        ]
        assert len(each) == len(SEEDS)
        return sum(each) / len(each)

    for trained, row in zip(ways, table.rows, strict=True):
        changed = trained.trained_weights
        like = UNTOUCHED if changed == MEMORY else changed
        wanted = [mean(like, 0, 1, 256)]
        wanted += [mean(changed, trained.memory_tokens, count, 256) for count in (1, 2, 4)]
        wanted += [mean(like, 0, 1, 192 + context) for context in (280, 752)]
        assert [cell.number for cell in row[2:]] == pytest.approx(wanted)
    alone = losses_table(ways_of(way(256, 10, LORA)))
    assert alone.columns[2] == "no memory"
    assert alone.rows[0][2].text == ""


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


@pytest.mark.usefixtures("unpainted")
def test_what_is_drawn_is_the_gain() -> None:
    ways = ways_of(study())
    figure = draw(ways)
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    assert len(panels) == 2 * 3
    for one in ways:
        axes = panels[f"input {one.segment_size}, trained: {one.trained_weights}"]
        (line,) = (line for line in axes.lines if line.get_gid() == way_name(one))
        drawn = dict(points(line))
        assert drawn == pytest.approx({n: each.mean for n, each in gains(one).items()})
    drawn_lines = [line for axes in figure.axes for line in axes.lines if line.get_gid()]
    assert sum("memory tokens" in str(line.get_gid()) for line in drawn_lines) == len(ways)
    assert set(gains(ways[0])) == set(READ)
    assert list(context_gains(ways[0])) == [280, 752]


@pytest.mark.usefixtures("unpainted")
def test_a_sink_has_the_colour_of_its_like_and_a_dash_of_its_own() -> None:
    sink = way(256, 10, LORA, sink_tokens=1)
    later = way(256, 10, LORA, trained_start_segments=2)
    both = way(256, 10, LORA, sink_tokens=1, trained_start_segments=2)
    again = way(256, 10, LORA, trained_repeat_share=0.5)
    records = [*way(256, 10, ALL_WEIGHTS), *way(256, 10, LORA), *contexts(256, LORA)]
    for number, own in enumerate((sink, later, both, again)):
        records += [replace(one, point=replace(one.point, weights=f"{number}")) for one in own[:5]]
    whole, lora = draw(ways_of([*records, *contexts(256, ALL_WEIGHTS)])).axes
    lines = {
        str(line.get_gid()): line
        for line in (*whole.lines, *lora.lines)
        if "memory" in str(line.get_gid())
    }
    looks = {name.split("tokens")[1]: line.get_linestyle() for name, line in lines.items()}
    assert looks == {
        ", all weights": "-",
        ", LoRA": "-",
        ", LoRA, from 2 segments": ":",
        " (1 sink), LoRA": "--",
        " (1 sink), LoRA, from 2 segments": "-.",
        ", LoRA, 50 % repeated": "-",
    }
    filled = {name: line.get_markerfacecolor() for name, line in lines.items()}
    assert [name for name, colour in filled.items() if colour == "white"] == [
        "10 memory tokens, LoRA, 50 % repeated"
    ]
    assert len({line.get_color() for name, line in lines.items() if "LoRA" in name}) == 1
    assert len({line.get_color() for line in lines.values()}) == 2
    names = {text.get_text() for text in lora.texts if "true context" not in text.get_text()}
    assert names - {BELOW, "no memory"} == {
        "memory",
        "1 sink",
        "from 2 segments",
        "1 sink, from 2 segments",
        "50 % repeated",
    }


@pytest.mark.usefixtures("unpainted")
def test_each_line_is_named_at_its_end_apart_from_the_others_and_whole() -> None:
    """Of one input size too, where no memory and true context lie close together."""
    near = contexts(256, LORA) + way(256, 10, LORA)
    small = [one for one in study() if one.point.block_tokens == 192]
    for records in (near, small, study()):
        ways = ways_of(records)
        figure = draw(ways, "An answer")
        figure.draw_without_rendering()
        by_panel = {
            f"input {way.segment_size}, trained: {way.trained_weights}": [
                one
                for one in ways
                if (one.segment_size, one.trained_weights)
                == (way.segment_size, way.trained_weights)
            ]
            for way in ways
        }
        assert len(figure.axes) == len(by_panel)
        for axes in figure.axes:
            own = by_panel.pop(axes.get_title("left"))
            texts = [text for text in axes.texts if text.get_text() not in ("", BELOW)]
            lines = [f"{way.memory_tokens} memory tokens" for way in own]
            assert sorted(text.get_text() for text in texts) == sorted(
                [
                    "no memory",
                    *(f"true context {count:,}" for count in context_gains(shown_alone(own)[0])),
                    *(lines if len(lines) > 1 else ["memory"]),
                ]
            )
            panel = axes.get_window_extent()
            # What leads to the name is no part of it.
            boxes = [Text.get_window_extent(text) for text in texts]
            assert all(panel.x1 < box.x0 < box.x1 <= figure.bbox.x1 for box in boxes)
            apart = sorted((box.y0, box.y1) for box in boxes)
            assert all(below[1] <= above[0] for below, above in pairwise(apart))
            # Points fill the panel: no room is kept beside the first.
            first = axes.transData.transform((1, 0))[0]
            assert first - panel.x0 < 0.05 * panel.width


@pytest.mark.usefixtures("unpainted")
def test_a_line_that_leaves_the_panel_is_named_where_it_does() -> None:
    ways = ways_of(
        shifted(
            [*way(256, 10, LORA), *contexts(256, LORA)], lambda one: 9.0 * (one.point.segments > 4)
        )
    )
    (axes,) = draw(ways).axes
    assert max(one.mean for one in gains(ways[0]).values()) > axes.get_ylim()[1]
    (name,) = (text for text in axes.texts if text.get_text() == "memory")
    assert isinstance(name, Annotation)
    assert name.xy[1] == axes.get_ylim()[1]


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
    assert table.columns == ("segments read", "10 memory tokens, all weights")
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
    assert table.columns == ("segments read", "10 memory tokens (1 sink), LoRA")
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
    assert (
        "| segments read | 2 memory tokens, all weights | 10 memory tokens, all weights |" in page
    )
    assert "| true context, 752 tokens |" in page
    assert "## What is trained\n" in page
    assert "**Input 256: Mixing lengths in training changes the loss by" in page
    assert "`fixed-256-0`" in page
    assert "## A sink in the memory\n\n**A sink token " in page
    assert "10 memory tokens (1 sink), LoRA |" in page
    assert "## Repeated text in training\n\n**Repeated text in training " in page
    assert "10 memory tokens (1 sink), LoRA, 50 % repeated |" in page
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
