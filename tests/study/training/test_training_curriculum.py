"""Stages, their transitions, what each step is made of, and the learning rate."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.study.training.curriculum import Progress, learning_rate
from rmtscale.study.training.memory_tasks.curriculum import advance, draw, plan_stages
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings

SMALL = MemoryTaskSettings(
    segments=3, start_tokens=(16, 24, 400), burn_in=(8, 32), stage_min_steps=20, stage_max_steps=100
)


def names(settings: MemoryTaskSettings, segment_tokens: int = 44, shortest: int = 10) -> list[str]:
    return [stage.name for stage in plan_stages(settings, segment_tokens, shortest)]


def test_noise_then_segments_then_burn_in() -> None:
    assert names(SMALL) == [
        "16 tokens",
        "24 tokens",
        "1 segment",
        "2 segments",
        "3 segments",
        "3 segments, burn-in 8",
        "3 segments, burn-in 32",
    ]
    stages = plan_stages(SMALL, 44, 10)
    assert [stage.tokens for stage in stages] == [16, 24, 44, 88, 132, 132, 132]
    assert [stage.whole for stage in stages] == [False, False, True, True, True, False, False]


def test_a_start_that_is_too_short_is_lengthened() -> None:
    assert names(SMALL, shortest=20)[:2] == ["20 tokens", "24 tokens"]


def test_reasoning_begins_with_contrasts() -> None:
    stages = plan_stages(MemoryTaskSettings(task="reasoning"), 504, 24, contrasts=True)
    assert stages[0].contrast
    assert stages[0].tokens == stages[1].tokens == 26
    assert not any(stage.contrast for stage in stages[1:])


def test_bare_stories_come_first() -> None:
    settings = MemoryTaskSettings(
        task="babilong", segments=1, burn_in=(), bare_tokens=(40, 12), start_tokens=(24,)
    )
    stages = plan_stages(settings, 44, 16)
    assert [stage.name for stage in stages] == [
        "16 tokens, no noise",
        "40 tokens, no noise",
        "24 tokens",
        "1 segment",
    ]
    assert [stage.bare for stage in stages] == [True, True, False, False]
    assert [stage.whole for stage in stages] == [False, False, False, True]


@pytest.mark.parametrize("tokens", [44, 45, 90])
def test_bare_stories_longer_than_a_segment_are_refused(tokens: int) -> None:
    settings = MemoryTaskSettings(task="babilong", bare_tokens=(12, tokens), start_tokens=(24,))
    if tokens == 44:
        assert plan_stages(settings, 44, 10)[1].name == "44 tokens, no noise"
        return
    message = f"bare tokens {tokens} in segments of 44 tokens of text: expected 44 or fewer"
    with pytest.raises(BadInput, match=message):
        plan_stages(settings, 44, 10)
    # Without a curriculum there is no such stage.
    assert not plan_stages(replace(settings, curriculum=False), 44, 10)[0].bare


def test_a_share_of_the_batches_asks_among_the_facts_but_for_burn_ins() -> None:
    settings = replace(SMALL, task="babilong", between_share=0.6)
    stages = plan_stages(settings, 44, 10)
    plain = [draw(SMALL, stages, len(stages) - 1, step, 44) for step in range(3000)]
    drawn = [draw(settings, stages, len(stages) - 1, step, 44) for step in range(3000)]
    assert [replace(one, between=False) for one in drawn] == plain
    assert not any(one.between and one.burn_in_segments for one in drawn)
    without = [one.between for one in drawn if not one.burn_in_segments]
    assert 0.56 < sum(without) / len(without) < 0.64


def test_a_share_of_the_burn_ins_asks_more_at_the_end() -> None:
    settings = replace(SMALL, task="babilong", between_share=0.6, closing_questions=3)
    stages = plan_stages(settings, 44, 10)
    drawn = [draw(settings, stages, len(stages) - 1, step, 44) for step in range(3000)]
    plain = replace(settings, closing_questions=0)
    without = [draw(plain, stages, len(stages) - 1, step, 44) for step in range(3000)]
    assert [replace(one, closing=False) for one in drawn] == without
    burnt = [one for one in drawn if one.burn_in_segments]
    assert 0.56 < sum(one.closing for one in burnt) / len(burnt) < 0.64
    assert not any(one.closing for one in drawn if not one.burn_in_segments)
    with pytest.raises(BadInput, match="closing questions 3 with replay lost: expected one of"):
        replace(settings, replay_lost=True)
    with pytest.raises(BadInput, match="closing questions -1: expected 0 or more"):
        replace(settings, closing_questions=-1)


def test_only_tasks_with_several_questions_are_asked_among_the_facts() -> None:
    with pytest.raises(BadInput, match=r"closing questions 2 of task 'memorize': expected 0"):
        MemoryObjective(MemoryTaskSettings(backbone="gpt-neox-tiny", closing_questions=2))
    with pytest.raises(BadInput, match=r"between share 0.5 of task 'memorize': expected 0"):
        MemoryObjective(MemoryTaskSettings(backbone="gpt-neox-tiny", between_share=0.5))


def test_without_a_curriculum_there_is_one_stage() -> None:
    settings = MemoryTaskSettings(curriculum=False, segments=4, burn_in=())
    assert names(settings) == ["4 segments"]


def test_a_segment_too_small_for_the_task() -> None:
    with pytest.raises(BadInput, match="segment size 512 leaves 9 tokens of text: expected 10"):
        plan_stages(SMALL, 9, 10)


def test_a_stage_ends_when_it_is_learned() -> None:
    stages = plan_stages(SMALL, 44, 10)
    here = Progress(2, 15)
    assert advance(SMALL, here, stages, 5, 0.99) == Progress(3, 0)
    assert advance(SMALL, here, stages, 4, 0.99) == Progress(2, 19)
    assert advance(SMALL, here, stages, 5, 0.98) == Progress(2, 20)
    assert advance(SMALL, here, stages, 5, None) == Progress(2, 20)


def test_a_stage_ends_after_its_most_steps() -> None:
    stages = plan_stages(SMALL, 44, 10)
    assert advance(SMALL, Progress(0, 95), stages, 5, 0.2) == Progress(1, 0)
    rolls = MemoryTaskSettings(**{**_values(SMALL), "burn_in_max_steps": 50})
    assert advance(rolls, Progress(5, 45), stages, 5, 0.2) == Progress(6, 0)


def test_the_last_stage_does_not_end() -> None:
    stages = plan_stages(SMALL, 44, 10)
    assert advance(SMALL, Progress(6, 5000), stages, 5, 1.0) == Progress(6, 5005)


def _values(settings: MemoryTaskSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in MemoryTaskSettings.__slots__}


@given(step=st.integers(0, 10**6), current=st.integers(0, 6), seed=st.integers(0, 99))
def test_a_step_is_a_function_of_seed_and_step(step: int, current: int, seed: int) -> None:
    settings = MemoryTaskSettings(**{**_values(SMALL), "seed": seed})
    stages = plan_stages(settings, 44, 10)
    one, other = (draw(settings, stages, current, step, 44) for _ in range(2))
    assert one == other
    assert 0 <= one.stage <= current
    assert one.tokens == stages[one.stage].tokens + 44 * one.burn_in_segments
    assert 0 <= one.burn_in_segments <= stages[one.stage].burn_in_segments


def test_shares_of_what_is_drawn() -> None:
    stages = plan_stages(SMALL, 44, 10)
    drawn = [draw(SMALL, stages, 6, step, 44) for step in range(4000)]
    current = [one for one in drawn if one.stage == 6]
    assert 0.67 < len(current) / 4000 < 0.73
    lengths = [one.burn_in_segments for one in current if one.burn_in_segments]
    assert 0.46 < len(lengths) / len(current) < 0.54
    # Log-uniform: 1 to 2 and 11 to 32 are about as often as each other (log 3 each, of log 33).
    counts = Counter(lengths)
    low = sum(counts[k] for k in (1, 2)) / len(lengths)
    high = sum(counts[k] for k in range(11, 33)) / len(lengths)
    assert set(counts) <= set(range(1, 33))
    assert abs(low - high) < 0.06


def test_fixed_lengths() -> None:
    settings = MemoryTaskSettings(**{**_values(SMALL), "current_stage_share": 1.0})
    stages = plan_stages(settings, 44, 10)
    assert {draw(settings, stages, 4, step, 44).stage for step in range(200)} == {4}


def test_learning_rate() -> None:
    settings = MemoryTaskSettings(
        learning_rate=1.0, warmup_steps=10, stage_factor=0.5, steps=100, final_decay_share=0.4
    )
    stages = plan_stages(settings, 504, 10)
    first, third = stages[0], next(stage for stage in stages if stage.segments == 3)
    assert learning_rate(settings, first, 0) == pytest.approx(0.1)
    assert learning_rate(settings, first, 9) == pytest.approx(1.0)
    assert learning_rate(settings, first, 50) == 1.0
    assert learning_rate(settings, third, 50) == 0.25
    assert learning_rate(settings, first, 80) == pytest.approx(0.5)
    assert learning_rate(settings, first, 99) == pytest.approx(1 / 40)


def test_a_share_of_the_batches_has_contrasts_and_nothing_else_changes() -> None:
    stages = plan_stages(SMALL, 44, 10)
    asked = MemoryTaskSettings(**{**_values(SMALL), "contrast_share": 0.3})
    plain, drawn = (
        [draw(one, stages, 6, step, 44) for step in range(4000)] for one in (SMALL, asked)
    )
    assert not any(one.contrast for one in plain)
    assert 0.27 < sum(one.contrast for one in drawn) / 4000 < 0.33
    assert [replace(one, contrast=False) for one in drawn] == plain


def test_contrasts_are_asked_of_a_task_that_has_some() -> None:
    settings = MemoryTaskSettings(task="memorize", backbone="gpt-neox-tiny", contrast_share=0.5)
    with pytest.raises(BadInput, match=r"contrast share 0.5 of task 'memorize': expected 0"):
        MemoryObjective(settings)
