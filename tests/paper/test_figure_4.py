"""Figure 4 from records: the reference points, and claims that pass, fail, or cannot be told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure_4 import claims as experiment
from rmtscale.study.figures.figure_4.drawing import draw
from rmtscale.study.figures.memory_tasks.axes import TITLES
from rmtscale.study.figures.memory_tasks.plan import GENERALIZATION_SEGMENTS
from rmtscale.study.figures.memory_tasks.recipes import TASKS
from rmtscale.study.records.evaluation import EvaluationRecord
from tests.command_line import Command
from tests.synthetic.evaluations import DECODER, ENCODER, curve

pytestmark = pytest.mark.usefixtures("unpainted")


def records(**worse: float) -> list[EvaluationRecord]:
    """All tasks, trained on 1 to 7: perfect up to the trained length, then at chance."""
    found = []
    for task in TASKS:
        for trained in range(1, 8):
            best = worse.get(task.replace("-", "_"), 1.0)
            known = 15 if trained == 7 else trained

            def accuracy(count: int, known: int = known, best: float = best) -> float:
                return best if count <= known else 1 / 6

            found += curve(GENERALIZATION_SEGMENTS, accuracy, task=task, trained_segments=trained)
    return found


def claims(found: list[EvaluationRecord]) -> dict[str, Claim]:
    made = experiment.check_claims(experiment.by_task(found), experiment.paper_curves())
    return {claim.text: claim for claim in made}


def test_the_papers_points() -> None:
    paper = experiment.paper_curves()
    assert set(paper) == set(TASKS)
    assert all(list(curves) == list(range(1, 8)) for curves in paper.values())
    assert all(len(points) == 15 for curves in paper.values() for points in curves.values())
    assert paper["memorize"][2][4] == 0.9060
    assert paper["reasoning"][7][10] == 0.9615


def test_all_hold() -> None:
    found = claims(records())
    assert {claim.outcome for claim in found.values()} == {"pass"}
    assert len(found) == 18
    assert found["Reasoning: trained on 7, read 15"].paper == "90.95 %"


def test_below_the_paper_fails() -> None:
    found = claims(records(detect_memorize=0.93))
    assert found["Detect & Memorize: trained on 7, read 10"].outcome == "fail"
    assert found["Detect & Memorize: learned on 7 segments"].outcome == "pass"
    assert found["Detect & Memorize: each model on the length it was trained on"].outcome == "fail"
    assert found["Memorize: trained on 7, read 10"].outcome == "pass"


def test_a_task_without_the_first_seed_shows_its_own_first() -> None:
    own = {"memorize": (0, 1), "detect-memorize": (1, 2), "reasoning": (2,)}
    found = [
        one
        for task, seeds in own.items()
        for seed in seeds
        for one in curve([1], 1.0, task=task, trained_seed=seed, weights=f"{task}-{seed}")
    ]
    shown = experiment.by_task(found)
    assert {task: curves[7][1].trained_seed for task, curves in shown.items()} == {
        "memorize": 0,
        "detect-memorize": 1,
        "reasoning": 2,
    }


def test_chance_is_not_learned() -> None:
    found = claims(records(memorize=0.17))
    assert found["Memorize: learned on 7 segments"].outcome == "fail"


def test_a_model_that_carries_no_further_fails() -> None:
    flat = [
        one
        for trained in (1, 7)
        for one in curve(GENERALIZATION_SEGMENTS, 0.5, trained_segments=trained)
    ]
    assert claims(flat)["Memorize: more trained segments carry further"].outcome == "fail"


def test_what_was_not_trained_cannot_be_told() -> None:
    found = claims([one for one in records() if one.trained_segments < 3])
    assert found["Memorize: trained on 7, read 10"].outcome == "not measurable"
    assert found["Memorize: trained on 7, read 10"].ours == "not evaluated"


def test_one_seed_is_shown() -> None:
    other = [replace(one, trained_seed=1, accuracy=0.0) for one in records()]
    ours = experiment.by_task([*other, *records()])
    assert ours["memorize"][7][15].accuracy == 1.0


def encoders(accuracy: float = 1.0, seed: int = 0) -> list[EvaluationRecord]:
    return [
        one
        for task in TASKS
        for trained in range(1, 8)
        for one in curve(
            GENERALIZATION_SEGMENTS,
            accuracy,
            task=task,
            trained_segments=trained,
            trained_seed=seed,
            trained_backbone=ENCODER,
            segment_tokens=499,
            weights=f"encoder {task} {trained} {seed}",
        )
    ]


def encoder_claims(found: list[EvaluationRecord]) -> dict[str, Claim]:
    made = experiment.check_encoder(found, experiment.paper_curves())
    return {claim.text.removeprefix("Pretrained encoder, "): claim for claim in made}


def test_a_pretrained_encoder_is_held_against_every_point() -> None:
    text = "Memorize, seed 1: at least the paper's at every length of all 7 models"
    found = encoder_claims([*encoders(), *encoders(seed=1)])
    assert (found[text].outcome, found[text].ours) == ("pass", "at 105 of 105")
    assert found["Reasoning: trained on 7, read 15"].outcome == "pass"
    some = encoder_claims([one for one in encoders(seed=1) if one.point.segments < 15])
    assert (some[text].outcome, some[text].ours) == ("not measurable", "at 98 of 105")
    worse = [
        replace(one, accuracy=0.5, high=0.53)
        if (one.trained_segments, one.point.segments) == (7, 3)
        else one
        for one in encoders(seed=1)
    ]
    assert (encoder_claims(worse)[text].outcome, encoder_claims(worse)[text].ours) == (
        "fail",
        "below it at 1 of 105, most trained on 7, read 3: 50.00 % against 100.00 %",
    )


def test_a_pretrained_encoder_without_a_run() -> None:
    found = encoder_claims([])
    assert {claim.ours for claim in found.values()} == {"no run yet"}
    assert {claim.outcome for claim in found.values()} == {"not measurable"}
    assert len(found) == 3


def test_two_kinds_of_backbone_are_kept_apart(rmtscale: Command, tmp_path: Path) -> None:
    path, out = tmp_path / "records.jsonl", tmp_path / "out"
    some = [one for one in encoders(0.8) if one.point.task == "memorize"]
    decoders = [replace(one, trained_backbone=DECODER) for one in records()]
    path.write_text("".join(one.to_line() + "\n" for one in [*some, *decoders]))
    done = rmtscale("reproduce", "figure-4", "--records", str(path), "--out", str(out))
    assert done.code == 1
    above, below = (out / "README.md").read_text().split("## Pretrained encoder, ")
    assert "80.00 %" not in above
    assert "100.00 %" not in below.split("### Memorize")[1]
    assert "| Pretrained encoder, Reasoning: at least the paper's at every length of all 7" in below


def test_each_kind_of_backbone_has_panels_of_its_own() -> None:
    some = experiment.by_task([one for one in encoders() if one.point.task == "memorize"])
    kinds = {"decoder of some kind": experiment.by_task(records()), "pretrained encoder": some}
    figure = draw(kinds, experiment.paper_curves())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:3] == [f"{TITLES[task]}\ndecoder of some kind" for task in TASKS]
    assert sum(title.endswith("pretrained encoder") for title in titles) == 6
    assert sum(title.endswith(", the paper") for title in titles) == 6
    empty = [
        axes.get_title(loc="left")
        for axes in figure.axes
        if any(text.get_text() == "no run yet" for text in axes.texts)
    ]
    assert empty == [f"{TITLES[task]}\npretrained encoder" for task in TASKS[1:]] * 2


def test_from_records(rmtscale: Command, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(one.to_line() + "\n" for one in records()))
    done = rmtscale("reproduce", "figure-4", "--records", str(path), "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    assert "pass: 18 of 21 claims hold, 3 are not measurable" in done.out
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"figure-4.png", "figure-4.svg", "figure-4.csv", "records.jsonl", "README.md"}
    assert (tmp_path / "out" / "figure-4.csv").read_text().count("\n") == 1 + 3 * 7 * 15
    again = rmtscale(
        "reproduce", "figure-4", "--records", str(path), "--out", str(tmp_path / "out")
    )
    assert again.code == 2
    assert "exists already, expected --force" in again.err
