"""A last stage with steps of its own: as many however slow the others were, and a rate without a
jump although nobody knows the end before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.study.training.curriculum import Progress, end_step, learning_rate
from rmtscale.study.training.layout import LAST, METRICS, SETTINGS
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.curriculum import plan_stages
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.metrics import Interval, read_metrics
from rmtscale.study.training.settings_file import read_settings
from tests.command_line import Command
from tests.grids import THOROUGH
from tests.tiny_training import demand_both_ends, tiny_settings, write_background

OWN = 12


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("text"))


def settings(background: Path, **more: Any) -> MemoryTaskSettings:
    """A stage of 16 tokens, one and two segments, a burn-in: three stages before the last, each as
    long as is asked for."""
    usual: dict[str, Any] = {"last_stage_steps": OWN, "steps": 200, "threshold": 1.0}
    return tiny_settings(background, **(usual | more))


def slow(background: Path, each: int, **more: Any) -> MemoryTaskSettings:
    return settings(background, stage_min_steps=each, stage_max_steps=each, **more)


def intervals(folder: Path) -> list[Interval]:
    return read_metrics(folder / METRICS)


def steps_of_last_stage(found: list[Interval]) -> int:
    last = found[-1].stage
    return found[-1].step - max(one.step for one in found if one.stage < last)


@pytest.mark.parametrize("each", [4, 8, 16] if THOROUGH else [4, 8])
def test_the_last_stage_has_its_steps_however_slow_the_others_were(
    background: Path, tmp_path: Path, each: int
) -> None:
    made = slow(background, each)
    result = train(made, tmp_path, device="cpu")
    found = intervals(tmp_path)
    assert result.finished
    assert "burn-in" in found[-1].stage_name
    assert (result.step, result.last_stage_steps) == (3 * each + OWN, OWN)
    assert steps_of_last_stage(found) == OWN
    assert load_checkpoint(tmp_path / LAST).trained.step == result.step
    # Known from its beginning on, and not before.
    assert [one.end_step for one in found] == [
        result.step if one.stage == 3 else None for one in found
    ]
    # It is done: the same again makes no step, and takes nothing away.
    before = (tmp_path / METRICS).read_text(), (tmp_path / LAST / "task.json").stat().st_mtime_ns
    assert train(made, tmp_path, device="cpu") == result
    after = (tmp_path / METRICS).read_text(), (tmp_path / LAST / "task.json").stat().st_mtime_ns
    assert before == after


def test_an_end_between_two_intervals(background: Path, tmp_path: Path) -> None:
    result = train(slow(background, 4, last_stage_steps=7), tmp_path, device="cpu")
    assert (result.finished, result.step) == (True, 19)
    assert [one.step for one in intervals(tmp_path)] == [4, 8, 12, 16, 19]


def rates_by_hand(made: MemoryTaskSettings, begins: list[int], segments: list[int]) -> list[float]:
    """Step after step: stages begin at these steps, and nothing is known before it has happened."""
    rates: list[float] = []
    step = 0
    own = made.last_stage_steps
    assert own is not None
    falling = round(min(own, made.steps) * made.final_decay_share)
    while True:
        stage = max(index for index, begin in enumerate(begins) if begin <= step)
        end = made.steps
        if stage == len(begins) - 1 and begins[-1] + own < end:
            end = begins[-1] + own
        if step >= end:
            return rates
        rate = made.learning_rate * made.stage_factor ** (segments[stage] - 1)
        if step + 1 < made.warmup_steps:
            rate *= (step + 1) / made.warmup_steps
        if end - step < falling:
            rate *= (end - step) / falling
        rates.append(rate)
        step += 1


@pytest.mark.parametrize("steps", [10, 23, 24, 25, 40, 1000])
@pytest.mark.parametrize("own", [1, 10, 16])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_rate_is_that_of_a_slow_loop_and_has_no_jump(
    steps: int, own: int, share: float
) -> None:
    made = MemoryTaskSettings(
        segments=2, start_tokens=(26,), burn_in=(8,), contrast_first=False, steps=steps,
        last_stage_steps=own, final_decay_share=share, warmup_steps=3, learning_rate=1.0,
    )  # fmt: skip
    stages = plan_stages(made, 504, 10)
    begins = [0, 4, 8, 14]
    assert len(stages) == len(begins)
    expected = rates_by_hand(made, begins, [one.segments for one in stages])
    rates, step = [], 0
    while True:
        stage = max(index for index, begin in enumerate(begins) if begin <= step)
        at = Progress(stage, step - begins[stage])
        end = end_step(made, stages, at, step)
        if step >= end:
            break
        rates.append(learning_rate(made, stages[stage], step, end))
        if step == begins[-1]:
            unknown = learning_rate(made, stages[stage], step, made.steps)
            assert rates[-1] == unknown, "that the end is known now changes no rate at that step"
        step += 1
    assert rates == pytest.approx(expected, rel=1e-12)
    assert len(rates) == min(steps, begins[-1] + own)
    if share and round(min(own, steps) * share):
        least = rates[-1] / made.stage_factor ** (stages[stage].segments - 1)
        assert least <= 1 / round(min(own, steps) * share) + 1e-12, "it has fallen"


def test_without_it_nothing_changes(background: Path, tmp_path: Path) -> None:
    """A training that knew its end from the start made these very steps, to the bit."""
    made = slow(background, 4, final_decay_share=0.5)
    known = replace(
        made, last_stage_steps=None, steps=12 + OWN, final_decay_share=0.5 * OWN / (12 + OWN)
    )
    for name, one in (("own", made), ("known", known)):
        assert train(one, tmp_path / name, device="cpu").finished
    own, whole = (intervals(tmp_path / name) for name in ("own", "known"))
    assert [one.outcome() for one in own] == [one.outcome() for one in whole]
    assert whole[-1].learning_rate < whole[-2].learning_rate < whole[0].learning_rate
    assert {one.end_step for one in whole} == {None}
    # A file of before has no such setting.
    stored = json.loads((tmp_path / "known" / SETTINGS).read_text())
    assert stored.pop("last_stage_steps") is None
    old = tmp_path / "old.json"
    old.write_text(json.dumps(stored))
    assert read_settings(old) == known


def test_a_training_that_stops_goes_on_alike(background: Path, tmp_path: Path) -> None:
    whole, part = demand_both_ends(slow(background, 4, final_decay_share=0.5), tmp_path)
    ours, theirs = intervals(part), intervals(whole)
    assert [one.outcome() for one in ours] == [one.outcome() for one in theirs]
    assert [one.end_step for one in ours] == [one.end_step for one in theirs]


def test_one_stage_alone_is_the_last(background: Path, tmp_path: Path) -> None:
    made = settings(background, curriculum=False, burn_in=(), validation_segments=(2,))
    result = train(made, tmp_path, device="cpu")
    assert (result.finished, result.step) == (True, OWN)


def test_steps_are_the_most(rmtscale: Command, background: Path, tmp_path: Path) -> None:
    """What ends a training too soon says so, and how to go on; the rate falls to that end too."""
    made = slow(background, 8, steps=28, final_decay_share=0.5)
    assert train(made, tmp_path, device="cpu").finished
    found = intervals(tmp_path)
    assert found[-1].step == found[-1].end_step == 28
    assert found[-1].learning_rate == pytest.approx(2e-3 * 0.85 / 6)
    again = rmtscale("train", "--out", str(tmp_path), "--device", "cpu")
    assert again.code == 0, again.err
    assert "the last stage had 4 of its 12 steps: --steps 36 goes on to its end" in again.out
    more = rmtscale("train", "--out", str(tmp_path), "--device", "cpu", "--steps", "36")
    assert more.code == 0, more.err
    assert "the last stage had" not in more.out
    assert steps_of_last_stage(intervals(tmp_path)) == OWN
    short = rmtscale(
        *("train", "--out", str(tmp_path), "--device", "cpu", "--set", "last_stage_steps=16"),
        *("--steps", "100", "--format", "json"),
    )
    (row,) = json.loads(short.out)["rows"]
    assert (row["steps"], row["last_stage_steps"], row["finished"]) == (40, 16, True)
    never = tmp_path / "never"
    assert train(slow(background, 8, steps=12), never, device="cpu").last_stage_steps is None
    said = rmtscale("train", "--out", str(never), "--device", "cpu").out
    assert "the last stage was not reached: --steps above 12 goes on" in said


def test_it_ends_within_a_time_and_stops_after_one(
    rmtscale: Command, background: Path, tmp_path: Path
) -> None:
    """``--finish-within`` moves ``steps``, the most; ``--max-seconds`` leaves a state."""
    made = slow(background, 4, steps=100_000)
    assert not train(made, tmp_path, device="cpu", max_seconds=0.0).finished
    given = ["train", "--out", str(tmp_path), "--device", "cpu"]
    stopped = rmtscale(*given, "--max-seconds", "0")
    assert "stopped at step 8 of at most 100,000" in stopped.out
    assert "left" not in stopped.err.split("going on at step 4 of at most 100,000")[1]
    ended = rmtscale(*given, "--finish-within", "0.001", "--format", "json")
    (row,) = json.loads(ended.out)["rows"]
    assert (row["finished"], row["steps"], row["last_stage_steps"]) == (True, 12, 0)
    # With more time than it needs it ends where it would.
    long = rmtscale(*given, "--finish-within", "1000", "--format", "json")
    (row,) = json.loads(long.out)["rows"]
    assert (row["finished"], row["steps"], row["last_stage_steps"]) == (True, 12 + OWN, OWN)
    assert "left" in long.err, "in the last stage the end is known"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0", "last stage steps 0: expected a whole number of 1 or more"),
        ("-3", "last stage steps -3"),
        ("1.5", "1.5 is not a whole number"),
    ],
)
def test_what_is_no_number_of_steps_is_refused(
    rmtscale: Command, background: Path, tmp_path: Path, value: str, said: str
) -> None:
    given = ["train", "--background", str(background), "--out", str(tmp_path / "x")]
    done = rmtscale(*given, "--set", f"last_stage_steps={value}")
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "x").exists()


def test_a_language_task_has_none(rmtscale: Command, tmp_path: Path) -> None:
    """Its stages are as long as they are planned."""
    given = ["train", "--task", "language-modeling", "--out", str(tmp_path / "x")]
    done = rmtscale(*given, "--set", "last_stage_steps=4")
    assert done.code == 2
    assert "last_stage_steps" in done.err


def test_nothing_but_ends_may_be_moved(background: Path, tmp_path: Path) -> None:
    made = slow(background, 4)
    train(made, tmp_path, device="cpu", max_seconds=0.0)
    train(replace(made, last_stage_steps=4), tmp_path, device="cpu", max_seconds=0.0)
    assert read_settings(tmp_path / SETTINGS) == replace(made, last_stage_steps=4)
    with pytest.raises(BadInput, match="stage max steps 8"):
        train(replace(made, stage_max_steps=8), tmp_path, device="cpu")
