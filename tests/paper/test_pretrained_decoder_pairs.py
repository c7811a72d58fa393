"""Ways that differ in one thing stand beside one another: a sink, repeated text, fixed lengths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.study.figures.language.lines import size_name
from rmtscale.study.figures.language.recipes import SEEDS
from rmtscale.study.figures.pretrained_decoder.claims import (
    answer_repeats,
    answer_sinks,
    check_claims,
    curricula,
    curriculum_claims,
    gains_over,
    repeat_pairs,
    shown_alone,
    sink_pairs,
    ways_of,
)
from rmtscale.study.figures.pretrained_decoder.recipes import READ
from rmtscale.study.figures.pretrained_decoder.tables import (
    curriculum_table,
    repeats_table,
    sinks_table,
)
from rmtscale.study.records.clusters import paired_difference
from rmtscale.study.records.language import (
    ALL_WEIGHTS,
    LORA,
)
from tests.synthetic.language import shifted
from tests.synthetic.pretrained_decoder import (
    fixed,
    named,
    study,
    way,
    worsened,
)


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
    for records, outcome in (([*plain, *sink], "pass"), ([*plain, *worsened(sink)], "fail")):
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
    for records, outcome in ((again, "pass"), (worsened(again), "fail")):
        own = ways_of([*plain, *sink, *records])
        claims = {claim.text: claim for claim in check_claims(own)}
        assert claims[text].outcome == outcome
        said = answer_repeats(repeat_pairs(own))
        assert ("improves" if outcome == "pass" else "worsens") in said
    other = named("o", way(256, 10, LORA, sink_tokens=1, trained_repeat_share=0.5))
    assert len({size_name(one, ways) for one in ways_of([*again, *other])}) == 2
