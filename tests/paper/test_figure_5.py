"""Figure 5 from records: the reference points, targets, constant memory, every seed shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rmtscale.records.measurement import Memory
from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure import Sources
from rmtscale.study.figures.figure_5 import claims as experiment
from rmtscale.study.figures.figure_5 import page
from rmtscale.study.figures.memory_tasks.plan import RETENTION_SEGMENTS, plan
from rmtscale.study.figures.memory_tasks.recipes import SEEDS, TASKS
from rmtscale.study.figures.registry import FIGURES
from rmtscale.study.figures.training_runs import TrainingSetup
from rmtscale.study.records.evaluation import EvaluationRecord
from tests.command_line import Command
from tests.synthetic.evaluations import MIB, curve

pytestmark = pytest.mark.usefixtures("unpainted")


def records(accuracy: float = 1.0, **values: object) -> list[EvaluationRecord]:
    return [
        one
        for task in TASKS
        for seed in SEEDS
        for one in curve(RETENTION_SEGMENTS, accuracy, task=task, trained_seed=seed, **values)
    ]


def claims(found: list[EvaluationRecord], *, long: bool = True) -> dict[str, Claim]:
    ours = experiment.by_task(found)
    made = experiment.check_claims(ours, experiment.paper_curves(), long=long)
    return {claim.text: claim for claim in made}


def test_the_papers_points() -> None:
    paper = experiment.paper_curves()
    assert {task: points[4096] for task, points in paper.items()} == {
        "memorize": 0.9056,
        "detect-memorize": 0.9607,
        "reasoning": 0.8190,
    }
    assert list(paper["memorize"]) == [2**power for power in range(1, 13)]


def test_all_hold() -> None:
    found = claims(records())
    assert {claim.outcome for claim in found.values()} == {"pass"}
    assert len(found) == 9 * 4
    assert (
        found["Memorize, seed 2: at least the paper's at every length"].ours == "at all 12 lengths"
    )


@pytest.mark.parametrize(
    ("accuracy", "task", "outcome"),
    [
        (0.995, "Memorize, seed 0: 99.50 % at 4,096 segments", "pass"),
        (0.994, "Memorize, seed 0: 99.50 % at 4,096 segments", "fail"),
        (0.98, "Detect & Memorize, seed 0: 98.00 % at 4,096 segments", "pass"),
        (0.97, "Detect & Memorize, seed 0: 98.00 % at 4,096 segments", "fail"),
        (0.90, "Reasoning, seed 0: 90.00 % at 4,096 segments", "pass"),
        (0.89, "Reasoning, seed 0: 90.00 % at 4,096 segments", "fail"),
    ],
)
def test_targets(accuracy: float, task: str, outcome: str) -> None:
    assert claims(records(accuracy))[task].outcome == outcome


def test_below_the_paper_says_where() -> None:
    def forgets(count: int) -> float:
        return 1.0 if count < 2048 else 0.6

    found = claims(curve(RETENTION_SEGMENTS, forgets))
    claim = found["Memorize, seed 0: at least the paper's at every length"]
    assert claim.outcome == "fail"
    assert claim.ours == "below it at 2 of 12, most at 4,096: 60.00 % against 90.56 %"


def test_growing_memory_fails() -> None:
    grown = [
        one
        for count in RETENTION_SEGMENTS
        for one in curve([count], 1.0, memory=Memory(peak_allocated_bytes=300 * MIB + 4096 * count))
    ]
    text = "Memorize, seed 0: memory constant in length, measured"
    assert claims(grown)[text].outcome == "fail"
    assert claims(records())[text].outcome == "pass"
    assert claims(records())[text].ours == "300.0 MiB at 4,096, 0.0 % over all"


def test_on_a_cpu_ids_are_left_out() -> None:
    made = [
        one
        for count in (2, 64, 1024)
        for one in curve(
            [count],
            1.0,
            memory=Memory(peak_resident_bytes=500 * MIB + 400 * 504 * count),
            device="cpu",
        )
    ]
    text = "Memorize, seed 0: memory constant in length, measured"
    assert claims(made)[text].ours == "500.0 MiB at 1,024, 0.0 % over all"


def test_a_short_evaluation_cannot_tell() -> None:
    found = claims(curve([1, 2, 7], 1.0))
    assert found["Memorize, seed 0: learned"].outcome == "pass"
    assert found["Memorize, seed 0: 99.50 % at 4,096 segments"].outcome == "not measurable"


def test_the_toy_size_is_held_against_chance() -> None:
    found = claims(curve([1, 2, 7], 0.18), long=False)
    assert set(found) == {
        "Detect & Memorize: trained and evaluated",
        "Reasoning: trained and evaluated",
        "Memorize, seed 0: learned",
        "Memorize, seed 0: memory constant in length, measured",
    }
    assert found["Memorize, seed 0: learned"].outcome == "fail"


def test_from_records(rmtscale: Command, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(one.to_line() + "\n" for one in records()))
    done = rmtscale("reproduce", "figure-5", "--records", str(path), "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| 4,096 | 2,064,384 | 100.00 % (99.62 to 100.00) |" in text


def test_what_was_trained_lies_beside_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint that was evaluated, without its own records, and its metrics."""
    runs, out = tmp_path / "runs", tmp_path / "out"
    planned = plan(page.TRAININGS, quick=False, background="/far/away/prose", seeds=(1,))
    for name in planned.recipes:
        for path in ("metrics.jsonl", "best/model.safetensors", "best/evaluation.jsonl"):
            (runs / name / path).parent.mkdir(parents=True, exist_ok=True)
            (runs / name / path).write_text(f"{path} of {name}")
    monkeypatch.setattr(page, "collect", lambda *_: (planned, records()))
    FIGURES["figure-5"].make(out, Sources(training=TrainingSetup(folder=runs)))
    assert list(planned.recipes) == [f"{task}-1" for task in TASKS]
    for name in planned.recipes:
        folder = out / "checkpoints" / name
        assert {file.name: file.read_text() for file in folder.iterdir()} == {
            "model.safetensors": f"best/model.safetensors of {name}",
            "training.jsonl": f"metrics.jsonl of {name}",
        }
    settings = json.loads((out / "settings.json").read_text())
    assert {one["background"] for one in settings.values()} == {"prose"}


def test_no_records(rmtscale: Command, tmp_path: Path) -> None:
    done = rmtscale(
        "reproduce", "figure-5", "--records", str(tmp_path / "none.jsonl"), "-o", str(tmp_path)
    )
    assert done.code == 2
    assert "expected a file that 'rmtscale evaluate' wrote" in done.err
