"""BABILong's ablation: each training has one change more, and its row in the table."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import pytest

from rmtscale.study.figures.babilong import ablation
from rmtscale.study.figures.babilong.ablation_table import ablation_table, equal_work
from rmtscale.study.figures.babilong.recipes import ablated, recipes
from rmtscale.study.figures.babilong.runs import runs_of
from rmtscale.study.records.babilong import BabilongRecord
from tests.synthetic.babilong import every, rows


@pytest.mark.parametrize("task", ablation.TASKS)
def test_each_training_of_the_ablation_has_one_change_more(task: str) -> None:
    """From a plain one to all that the recipes have; the rest is as in the task's own recipe."""
    known = recipes("prose")
    trainings = [known[f"babilong-ablation-{task}-{change}-1"] for change in ablation.ADDED]
    changed = [
        {
            field.name
            for field in fields(before)
            if getattr(before, field.name) != getattr(after, field.name)
        }
        for before, after in pairwise(trainings)
    ]
    assert changed == [{"burn_in"}, {"replay_lost"}, {"fact_fragments"}]
    plain, last = trainings[0], trainings[-1]
    assert (plain.burn_in, plain.replay_lost, plain.fact_fragments) == ((), False, 0.0)
    assert (last.burn_in, last.replay_lost) == ((16, 64), True)
    assert last.fact_fragments == known["babilong-qa1-1"].fact_fragments
    own = {"qa1": "babilong-qa1-1", "qa2": "babilong-qa2-state-1"}[task]
    assert replace(last, replay_lost=task == "qa1") == known[own]


def ablation_rows(records: list[BabilongRecord]) -> list[list[str]]:
    lines = ablation_table(runs_of(records)).splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def ablated_rows(task: str, change: str, accuracy: float, **values: object) -> list[BabilongRecord]:
    """Evaluations of a training of the ablation."""
    settings = ablated(task, change, 0)
    noted = {
        name: getattr(settings, name)
        for name in ("burn_in", "replay_lost", "fact_fragments", "between_share")
    }
    noted["initializer_range"] = settings.initializer_range
    noted["ask_state"] = settings.task_options.get("ask_state", False)
    given = {"stories": task, "segments": 3, **noted, **values}
    made = rows(task, accuracy, ablation.LENGTHS)
    training = replace(made[0].training, **given)  # type: ignore[type-var]
    weights = f"{task}{change}"
    return [
        replace(one, training=training, point=replace(one.point, weights=weights)) for one in made
    ]


def test_the_ablation_says_what_each_change_brings() -> None:
    names = ["plain", "+ burn-in", "+ replay", "+ fragments", "+ dead band"]
    empty = ablation_rows(every(1.0))
    assert [row[:3] for row in empty] == [
        [task, name, "no run yet"] for task in ("qa1", "qa2") for name in names
    ]
    made = [
        one
        for share, change in zip((0.2, 0.4, 0.6, 0.8), ablation.ADDED, strict=True)
        for one in ablated_rows("qa1", change, share)
    ]
    held = [
        replace(one, point=replace(one.point, dead_band=0.3))
        for change in ("plain", "fragments")
        for one in ablated_rows("qa1", change, 1.0)
    ]
    # Neither another start, nor one that is not asked for the state, nor another backbone is one.
    others = [
        *ablated_rows("qa2", "plain", 1.0, initializer_range=0.02),
        *ablated_rows("qa2", "burn-in", 1.0, ask_state=False),
        *ablated_rows("qa2", "replay", 1.0, between_share=None),
        *ablated_rows("qa2", "fragments", 1.0, backbone="minilm-q"),
    ]
    found = ablation_rows([*made, *held, *others])
    assert [row[1] for row in found] == 2 * names
    # 0k has a thousand samples and 128k a hundred.
    assert [(row[5].split(" ")[0], row[-1].split(" ")[0]) for row in found] == [
        *[("20.0", "20"), ("40.0", "40"), ("60.0", "60"), ("80.0", "80"), ("100.0", "100")],
        *[("", "")] * 5,
    ]
    assert (found[0][5], found[0][-1]) == ("20.0 (17.6 to 22.6)", "20 (13.3 to 28.9)")
    assert [row[2] for row in found[5:]] == ["no run yet"] * 5
    assert found[3][2] == "seed 0, burn-in 16/64, last stage 7 segments, burn-in 256"
    assert found[4][2] == "seed 0, burn-in 16/64, dead band 0.3 (borrowed)"


def test_the_dead_band_is_that_of_the_last_training() -> None:
    """Several widths are several rows; those of another training are none of them."""
    held = [
        replace(one, point=replace(one.point, dead_band=width))
        for width in (0.3, 0.4)
        for one in ablated_rows("qa2", "fragments", width)
    ]
    others = [
        replace(one, point=replace(one.point, dead_band=0.3))
        for change in ("plain", "burn-in", "replay")
        for one in ablated_rows("qa2", change, 0.9)
    ]
    found = ablation_rows([*held, *others])
    own = [row for row in found if row[:2] == ["qa2", "+ dead band"]]
    assert [(row[2].split(", ")[-1], row[5].split(" ")[0]) for row in own] == [
        ("dead band 0.3 (borrowed)", "30.0"),
        ("dead band 0.4 (borrowed)", "40.0"),
    ]
    assert [row[2] for row in found if row[0] == "qa1"] == ["no run yet"] * 5
    assert [row[2] for row in found if row[0] == "qa2"][:4] == ["no run yet"] * 4


def test_longer_burn_ins_are_the_same_change() -> None:
    longer = ablated_rows("qa1", "burn-in", 0.5, burn_in=(16, 64, 256))
    found = ablation_rows([*longer, *ablated_rows("qa1", "plain", 0.4)])
    assert found[0][2] == "seed 0, last stage 7 segments, burn-in 256"
    assert found[1][2].startswith("seed 0, burn-in 16/64/256, ")


def test_steps_and_time_say_whether_work_was_equal() -> None:
    def work(*arms: tuple[int, float | None]) -> str:
        made = [
            one
            for change, (steps, seconds) in zip(ablation.ADDED, arms, strict=False)
            for one in ablated_rows("qa1", change, 0.5, steps=steps, seconds=seconds)
        ]
        rows = ablation_rows(made)[: len(arms)]
        assert [row[3] for row in rows] == [f"{steps:,}" for steps, _ in arms]
        assert [row[4] for row in rows] == [
            "" if seconds is None else f"{seconds:.1f} s" for _, seconds in arms
        ]
        return equal_work(runs_of(made))

    assert work((3000, 60.0)) == "No task has two trainings to compare yet."
    assert work((3000, 60.0), (3000, 62.0)) == (
        "qa1: equal steps, 3,000, equal time of steps within 5.0 %, 60.0 s to 62.0 s."
    )
    assert work((3000, 60.0), (2000, 60.0), (3100, 60.0)) == (
        "qa1: unequal steps, 2,000 to 3,100, equal time of steps, 60.0 s."
    )
    assert work((3000, None), (3000, 62.0)) == (
        "qa1: equal steps, 3,000, time of steps not noted of all."
    )
    both = [
        *(one for change in ("plain", "replay") for one in ablated_rows("qa1", change, 0.5)),
        *(one for change in ("plain", "burn-in") for one in ablated_rows("qa2", change, 0.5)),
    ]
    assert equal_work(runs_of(both)).count("equal steps, 9,000") == 2
