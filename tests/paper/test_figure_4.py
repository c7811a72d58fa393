"""Figure 4 from records: the reference points, and claims that pass, fail, or cannot be told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure_4 import claims as experiment
from rmtscale.study.figures.memory_tasks.plan import GENERALIZATION_SEGMENTS
from rmtscale.study.figures.memory_tasks.recipes import TASKS
from rmtscale.study.records.evaluation import EvaluationRecord
from tests.command_line import Command
from tests.synthetic.evaluations import curve

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


def test_from_records(rmtscale: Command, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(one.to_line() + "\n" for one in records()))
    done = rmtscale("reproduce", "figure-4", "--records", str(path), "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    assert "pass: all 18 claims hold" in done.out
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"figure-4.png", "figure-4.svg", "figure-4.csv", "records.jsonl", "README.md"}
    assert (tmp_path / "out" / "figure-4.csv").read_text().count("\n") == 1 + 3 * 7 * 15
    again = rmtscale(
        "reproduce", "figure-4", "--records", str(path), "--out", str(tmp_path / "out")
    )
    assert again.code == 2
    assert "exists already, expected --force" in again.err
