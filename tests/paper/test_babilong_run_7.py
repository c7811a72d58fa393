"""BABILong, run 7: what the page of trainings says of its losses, widths and averages."""

from __future__ import annotations

import json
from statistics import mean

import pytest

from rmtscale.study.figures.babilong.runs import DEAD_BAND, Run, mean_accuracy, runs_of, shown
from rmtscale.study.figures.figure import REPORTS
from tests.committed import babilong_records, babilong_widths

PAGE = (REPORTS / "babilong/tried/README.md").read_text(encoding="utf-8")
FINALS = {"qa1": "050bdd21d7c8df48", "qa2": "a5ef26bb3e3d00ca", "qa3": "da3e80fe81b53527"}


def metrics(name: str) -> list[dict[str, float]]:
    path = REPORTS / f"babilong/tried/run-7-{name}-training.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def mean_of(name: str, key: str, first: int, last: int) -> float:
    """The mean of a number over steps above ``first`` up to ``last``, where it is noted."""
    return mean(one[key] for one in metrics(name) if first < one["step"] <= last and key in one)


@pytest.mark.parametrize(
    ("name", "steps", "told", "light"),
    [
        ("qa1-told", 3450, 0.044, None),
        ("qa2-told", 3500, 0.036, None),
        ("qa2-light", 3500, 0.034, 0.95),
        ("qa3-told", 3500, 0.012, None),
    ],
)
def test_what_memory_tells_at_the_end(
    name: str, steps: int, told: float, light: float | None
) -> None:
    assert metrics(name)[-1]["step"] == steps
    found = mean_of(name, "told_loss", steps - 400, steps)
    assert found == pytest.approx(told, abs=0.0006)
    if light:
        assert found / mean_of("qa2-told", "told_loss", 3100, 3500) == pytest.approx(
            light, abs=0.01
        )


@pytest.mark.parametrize(
    ("told", "control"),
    [("qa2-told", "qa2-control"), ("qa2-light", "qa2-control"), ("qa3-told", "qa3-control")],
)
def test_a_young_head_costs_answers_at_first_only(told: str, control: str) -> None:
    assert mean_of(told, "loss", 0, 300) > 1.05 * mean_of(control, "loss", 0, 300)
    later = mean_of(told, "loss", 1300, 1700) / mean_of(control, "loss", 1300, 1700)
    assert later == pytest.approx(1.0, abs=0.06)


def test_seconds_of_the_arms() -> None:
    arms = ("qa1-told", "qa2-control", "qa2-light", "qa2-told", "qa3-control", "qa3-told")
    seconds = [sum(one["seconds"] for one in metrics(name)) for name in arms]
    assert 374 < min(seconds) < max(seconds) < 386
    finals = [sum(one["seconds"] for one in metrics(f"{task}-final")) for task in FINALS]
    assert 287 < min(finals) < max(finals) < 312


def test_the_table_of_widths() -> None:
    lines = map(json.loads, (REPORTS / "babilong/widths.jsonl").read_text().splitlines())
    right = {
        (one["point"]["weights"], one["point"]["segments"], one["point"].get("dead_band", 0.0)): (
            100 * one["right"].count("1") / 400
        )
        for one in lines
        if one["point"]["samples"] == 400
    }
    for width in (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        cells = (
            ", ".join(f"{right[weights, segments, width] + 1e-9:.1f}" for segments in (64, 256))
            for weights in FINALS.values()
        )
        row = f"| {width or 'none'} | {' | '.join(cells)} |"
        assert row in PAGE.replace("**", "")


def drawn() -> dict[str, Run]:
    """The run of each task that the page drew after run 7, with a dead band."""
    runs = runs_of(babilong_records().latest().values(), babilong_widths())
    finals = {
        run.task: run
        for run in runs
        if (run.variant, run.dead_band) == (DEAD_BAND, 0.5)
        if {one.point.weights for one in run.curve.values()} == {FINALS.get(run.task)}
    }
    assert list(finals) == ["qa2", "qa3"]
    return shown(runs, DEAD_BAND) | finals


def test_averages_with_the_qa3_of_before() -> None:
    best = drawn()
    (old,) = (
        run
        for run in runs_of(babilong_records().latest().values(), babilong_widths())
        if (run.task, run.variant) == ("qa3", DEAD_BAND) and run.dead_band == 0.4
        if {(one.training and one.training.steps) for one in run.curve.values()} == {29_200}
    )

    def averages(runs: dict[str, Run]) -> list[float]:
        return [100 * (mean_accuracy(runs, at) or 0.0) for at in ("128k", "1M", "10M")]

    assert averages(best) == pytest.approx([96.8, 96.0, 89.0])
    assert averages(best | {"qa3": old}) == pytest.approx([97.15, 95.85, 87.4])


@pytest.mark.parametrize(
    ("task", "before", "length", "points", "low", "high"),
    [
        ("qa2", 29_850, "64k", 5.5, 2.4, 8.6),
        ("qa2", 29_850, "128k", 4.5, 1.3, 7.7),
        ("qa2", 29_850, "512k", 2.2, -1.9, 6.4),
        ("qa2", 29_850, "1M", 3.5, -0.5, 7.5),
        ("qa3", 29_200, "128k", -1.8, -5.4, 1.9),
        ("qa3", 29_200, "10M", 8.0, -0.9, 16.9),
    ],
)
def test_finals_beside_the_checkpoints_of_before(
    task: str, before: int, length: str, points: float, low: float, high: float
) -> None:
    """Taken as independent: records of the old ones do not say which answers were right."""
    new = drawn()[task].curve[length]
    (old,) = (
        run.curve[length]
        for run in runs_of(babilong_records().latest().values(), babilong_widths())
        if (run.task, run.variant, run.dead_band) == (task, DEAD_BAND, 0.4) and length in run.curve
        if (training := run.curve[length].training) and training.steps == before
    )
    shares = [(one.accuracy, one.point.samples) for one in (new, old)]
    error = sum(share * (1 - share) / samples for share, samples in shares) ** 0.5
    apart = new.accuracy - old.accuracy
    found = [100 * apart, 100 * (apart - 1.96 * error), 100 * (apart + 1.96 * error)]
    assert found == pytest.approx([points, low, high], abs=0.051)
