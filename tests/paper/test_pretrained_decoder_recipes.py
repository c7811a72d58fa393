"""What the recipes of a pretrained decoder compare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.study.figures.language.plan import Plan, plan
from rmtscale.study.figures.language.recipes import SEEDS
from rmtscale.study.figures.pretrained_decoder.recipes import READ, TRAININGS, recipes
from rmtscale.study.records.language import (
    ALL_WEIGHTS,
    LORA,
    MEMORY,
    UNTOUCHED,
)
from tests.synthetic.pretrained_decoder import (
    SIZES,
)


def full_plan(**given: Any) -> Plan:
    texts = {"texts": {"latex": "L"}, "backbone": "B", **given}
    return plan(TRAININGS, quick=False, runs=Path("runs"), **texts)


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
