"""BABILong's ablation: each training has one change more, and its row in the table."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import pytest

from rmtscale.study.figures.babilong import ablation
from rmtscale.study.figures.babilong.ablation_table import ablation_table
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
    assert replace(last, replay_lost=task == "qa1") == known[f"babilong-{task}-1"]


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
    noted |= {"initializer_range": settings.initializer_range, "ask_state": False}
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
    # Neither another start, nor questions about the state, nor the recipe of all five is one.
    others = [
        *ablated_rows("qa2", "plain", 1.0, initializer_range=0.02),
        *ablated_rows("qa2", "burn-in", 1.0, ask_state=True),
        *ablated_rows("qa2", "replay", 1.0, between_share=None),
        *ablated_rows("qa2", "fragments", 1.0, backbone="minilm-q"),
    ]
    found = ablation_rows([*made, *held, *others])
    assert [row[1] for row in found] == 2 * names
    assert [row[3] for row in found] == ["20.0", "40.0", "60.0", "80.0", "100.0", *[""] * 5]
    assert [row[2] for row in found[5:]] == ["no run yet"] * 5
    assert found[4][2].endswith("dead band 0.3")
