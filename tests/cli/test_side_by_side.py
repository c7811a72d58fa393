"""Commands side by side: one GPU each, in turn; what fails is named; what needs another waits."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rmtscale.errors import CheckFailed
from rmtscale.study.figures import evaluation_runs, side_by_side, training_runs
from rmtscale.study.figures.evaluation_runs import CheckpointEvaluation, evaluate_on_gpus
from rmtscale.study.figures.figure import Sources
from rmtscale.study.figures.language import runs as language_runs
from rmtscale.study.figures.language.plan import Plan as LanguagePlan
from rmtscale.study.figures.memory_tasks import runs as memory_task_runs
from rmtscale.study.figures.memory_tasks.plan import Plan, Trainings, best_checkpoint
from rmtscale.study.figures.memory_tasks.runs import evaluate_all
from rmtscale.study.figures.registry import FIGURES
from rmtscale.study.figures.side_by_side import Job, count_gpus, run_jobs
from rmtscale.study.figures.training_runs import TrainingSetup, train_all
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.training.layout import CACHE, METRICS, SETTINGS
from rmtscale.study.training.loop import train
from rmtscale.study.training.metrics import read_metrics
from rmtscale.study.training.settings_file import read_settings
from tests.forked import Started
from tests.tiny_text import tiny_text_settings, write_text
from tests.tiny_training import tiny_settings, write_background

SAY = """
import json, os, sys, time
begun = time.time()
time.sleep(0.4)
seen = os.environ.get("CUDA_VISIBLE_DEVICES")
print(json.dumps({"gpu": seen, "begun": begun, "ended": time.time(), "left": sys.argv[1]}))
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "POLL_SECONDS", 0.02)


def job(name: str, folder: Path, code: int = 0, **more: Any) -> Job:
    def command(left: float | None) -> list[str]:
        return [sys.executable, "-c", SAY, str(left), str(code)]

    return Job(name, command, folder / f"{name}.log", **more)


def said(folder: Path, name: str) -> dict[str, Any]:
    printed: dict[str, Any] = json.loads((folder / f"{name}.log").read_text())
    return printed


def test_each_sees_one_gpu_and_no_more_run_than_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    names = ["a", "b", "c", "d"]
    assert run_jobs([job(name, tmp_path) for name in names], 2, gpus=2) == []
    found = [said(tmp_path, name) for name in names]
    assert {one["gpu"] for one in found[:2]} == {"4", "6"}
    assert {one["gpu"] for one in found} == {"4", "6"}
    for one in found:
        beside = [x for x in found if x["begun"] < one["begun"] < x["ended"]]
        assert len(beside) <= 1
        assert one["left"] == "None"
        # Two on one GPU at a time is what is measured wrongly.
        assert all(x["gpu"] != one["gpu"] for x in beside)


def test_one_gpu_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert run_jobs([job("a", tmp_path)], 2, gpus=1, seconds=60) == []
    assert said(tmp_path, "a")["gpu"] == "5"
    assert 59 < float(said(tmp_path, "a")["left"]) <= 60


def test_what_fails_is_named_and_the_others_run(tmp_path: Path) -> None:
    jobs = [job("a", tmp_path, 3), job("b", tmp_path)]
    assert run_jobs(jobs, 1, gpus=0) == ["a"]
    assert said(tmp_path, "b")["ended"] > 0


def test_what_needs_another_waits_for_it(tmp_path: Path) -> None:
    first = tmp_path / "a.log"

    def there() -> bool:
        return first.exists() and first.stat().st_size > 0

    jobs = [job("b", tmp_path, ready=there), job("a", tmp_path)]
    assert run_jobs(jobs, 2, gpus=0) == []
    assert said(tmp_path, "b")["begun"] >= said(tmp_path, "a")["ended"] - 0.1
    assert run_jobs([job("c", tmp_path, ready=lambda: False)], 2, gpus=0) == []
    assert not (tmp_path / "c.log").exists()


def test_no_more_start_when_the_time_is_up(tmp_path: Path) -> None:
    began = time.monotonic()
    jobs = [job(name, tmp_path) for name in "abcdefgh"]
    assert run_jobs(jobs, 1, gpus=0, seconds=0.2) == []
    assert time.monotonic() - began < 3
    assert not (tmp_path / "h.log").exists()


def test_a_cpu_has_no_gpus() -> None:
    assert count_gpus("cpu") == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan, str]:
    """A folder with two short trainings."""
    background = write_background(tmp_path_factory.mktemp("text"))
    folder = tmp_path_factory.mktemp("runs")
    recipes = {}
    for seed in (0, 1):
        settings = replace(tiny_settings(background, steps=10), seed=seed)
        train(settings, folder / f"one-{seed}", device="cpu")
        recipes[f"one-{seed}"] = settings
    return folder, Plan(recipes, (1, 2), 8, 8, 4), str(background)


def test_evaluations_beside_are_those_in_turn(
    runs: tuple[Path, Plan, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on two GPUs: what the processes add is what is evaluated here, and is not done again."""
    folder, plan, background = runs
    setup = TrainingSetup(folder=folder, background=background, device="cpu", jobs=2)
    alone = EvaluationStore(tmp_path / "a.jsonl")
    in_turn = evaluate_all(plan, Trainings(), setup, alone)
    monkeypatch.setattr(evaluation_runs, "count_gpus", lambda _: 2)
    monkeypatch.setattr(side_by_side, "start", Started)
    lines: list[str] = []
    beside = replace(setup, announce=lines.append)
    store = EvaluationStore(tmp_path / "b.jsonl")
    for record in in_turn[2:]:
        store.append(record)
    records = evaluate_all(plan, Trainings(), beside, store)
    assert len(records) == 4
    assert [one.accuracy for one in records] == [one.accuracy for one in in_turn]
    assert len(store.read().records) == 4
    assert lines == ["evaluating one-0 best"]
    evaluate_all(plan, Trainings(), beside, store)
    assert len(store.read().records) == 4
    assert lines == ["evaluating one-0 best"]


def test_a_figure_collects_what_was_trained_and_says_what_was_not(
    runs: tuple[Path, Plan, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, plan, background = runs
    figure = FIGURES["figure-11"]
    setup = TrainingSetup(folder=folder, background=background, device="cpu", max_seconds=0)
    monkeypatch.setattr(memory_task_runs, "plan", lambda *_, **__: plan)
    planned, records = memory_task_runs.collect(figure, Trainings(), Sources(training=setup))
    assert planned is plan
    assert [(one.trained_seed, one.point.segments) for one in records] == [
        (seed, count) for seed in (0, 1) for count in (1, 2)
    ]
    store = folder / "figure-11.jsonl"
    assert tuple(records) == EvaluationStore(store).read().records
    longer = replace(plan, recipes={**plan.recipes, "two": plan.recipes["one-0"]})
    monkeypatch.setattr(memory_task_runs, "plan", lambda *_, **__: longer)
    with pytest.raises(
        CheckFailed, match=r"time is up, 1 of 3 trainings are not done \(two\); the"
    ):
        memory_task_runs.collect(figure, Trainings(), Sources(training=setup))


def test_with_one_gpu_each_is_a_process_even_in_turn(
    runs: tuple[Path, Plan, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that no peak holds what an earlier one has left."""
    folder, plan, background = runs
    begun = []

    def noted(
        jobs: list[Job], at_once: int, *, gpus: int, seconds: float | None = None
    ) -> list[str]:
        begun.append(([" ".join(job.command(seconds)[2:5]) for job in jobs], at_once, gpus))
        return []

    for module in (training_runs, evaluation_runs):
        monkeypatch.setattr(module, "run_jobs", noted)
    setup = TrainingSetup(folder=tmp_path / "runs", background=background, device="cpu")
    new = {name: plan.recipes[name] for name in ("one-0", "one-1")}
    asked = {"one-0 best": CheckpointEvaluation(folder / "one-0" / "best", (1,), ())}
    store = EvaluationStore(tmp_path / "a.jsonl")
    evaluate_on_gpus(asked, setup, store)
    assert begun == [], "without a GPU there is nothing to keep apart"
    for module in (training_runs, evaluation_runs):
        monkeypatch.setattr(module, "count_gpus", lambda _: 1)
    assert train_all(new, setup) == ["one-0", "one-1"], "here nothing ran"
    evaluate_on_gpus(asked, setup, store)
    assert begun == [
        (["rmtscale train --out"] * 2, 1, 1),
        ([f"rmtscale evaluate {folder / 'one-0' / 'best'}"], 1, 1),
    ]


def test_ends_are_moved_to_the_time_there_is(
    runs: tuple[Path, Plan, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In this process too, where none has a speed yet; one after another they share the time."""
    _, plan, background = runs
    new = {name: replace(one, steps=4000) for name, one in plan.recipes.items()}
    setup = TrainingSetup(folder=tmp_path, background=background, device="cpu", finish_within=0.001)
    assert train_all(new, setup) == []
    for name in new:  # two intervals of 4 steps for the speed, and one more
        assert read_metrics(tmp_path / name / METRICS)[-1].step == 12
        assert read_settings(tmp_path / name / SETTINGS).steps == 12
    commands: list[list[str]] = []

    def noted(jobs: list[Job], *_: object, **__: object) -> list[str]:
        commands.extend(job.command(None) for job in jobs)
        return []

    monkeypatch.setattr(training_runs, "run_jobs", noted)
    four = {f"{name}-{again}": one for name, one in new.items() for again in "ab"}
    beside = replace(setup, folder=tmp_path / "beside", jobs=2, finish_within=101)
    assert train_all(four, beside) == list(four)
    assert [command[-2:] for command in commands] == [
        ["--finish-within", seconds] for seconds in ("50", "50", "100", "100")
    ]


def test_an_evaluation_that_fails(
    runs: tuple[Path, Plan, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, _, _ = runs
    setup = TrainingSetup(folder=folder, device="cpu", jobs=2)
    monkeypatch.setattr(evaluation_runs, "count_gpus", lambda _: 2)
    checkpoint = best_checkpoint(folder / "one-0")["best"]
    asked = {"one-0 best": CheckpointEvaluation(checkpoint, (1,), ("--format", "x"))}
    with pytest.raises(CheckFailed, match=r"evaluation of one-0 best failed: see .*one-0-best"):
        evaluate_on_gpus(asked, setup, EvaluationStore(tmp_path / "c.jsonl"))
    log = (folder / "evaluation-one-0-best.log").read_text()
    assert "error: format 'x'" in log


def test_of_language_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The process is asked for the very records that are looked for afterwards."""
    settings = tiny_text_settings(write_text(tmp_path / "text"))
    train(settings, tmp_path / "one", device="cpu", cache=tmp_path / CACHE)
    plan = LanguagePlan({"one": settings}, {"one": (1, 2)}, {"one": 60}, 8, 4)
    monkeypatch.setattr(evaluation_runs, "count_gpus", lambda _: 2)
    monkeypatch.setattr(side_by_side, "start", Started)
    setup = TrainingSetup(folder=tmp_path, device="cpu", jobs=2)
    found = language_runs.evaluate_all(plan, setup)
    assert [one.point.segments for one in found] == [1, 2]
    kept = (tmp_path / "evaluation.jsonl").read_text().splitlines()
    assert len(kept) == 2, "evaluated once, by the process"
    assert (tmp_path / "evaluation-one.log").read_text().count("(in the file already)") == 0
    assert {one.model.name for one in found} == {"one"}
