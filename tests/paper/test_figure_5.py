"""Figure 5's claims from records: the reference points, targets, constant memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmtscale.records.measurement import Memory
from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure_5 import claims as experiment
from rmtscale.study.figures.memory_tasks.plan import RETENTION_SEGMENTS
from rmtscale.study.records.evaluation import EvaluationRecord
from tests.cli.test_evaluate_probe import probed
from tests.synthetic.evaluations import MIB, curve
from tests.synthetic.retention import decoders

pytestmark = pytest.mark.usefixtures("unpainted")


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
    found = claims(decoders())
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
    assert claims(decoders(accuracy))[task].outcome == outcome


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
    assert claims(decoders())[text].outcome == "pass"
    assert claims(decoders())[text].ours == "300.0 MiB at 4,096, 0.0 % over all"


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


def test_memory_is_compared_between_batches_of_one_size() -> None:
    mixed = curve([2, 4, 8], 1.0) + curve(
        [512, 4096], 1.0, batch_size=64, memory=Memory(peak_allocated_bytes=200 * MIB)
    )
    text = "Memorize, seed 0: memory constant in length, measured"
    assert claims(mixed)[text].ours == "300.0 MiB at 8, 0.0 % over all"
    compiled = [replace(one, point=replace(one.point, compile_step=True)) for one in mixed[3:]]
    alike = [*mixed[:3], *(replace(one, batch_size=100) for one in compiled)]
    assert claims(alike)[text].ours == "300.0 MiB at 8, 0.0 % over all"
    merged = [replace(one, point=replace(one.point, merged_lora=True)) for one in mixed[3:]]
    alike = [*mixed[:3], *(replace(one, batch_size=100) for one in merged)]
    assert claims(alike)[text].ours == "300.0 MiB at 8, 0.0 % over all"
    early = [replace(one, batch_size=100, probe=probed(None)) for one in mixed[3:]]
    assert claims([*mixed[:3], *early])[text].ours == "300.0 MiB at 8, 0.0 % over all"
    assert set(experiment.peaks_of(experiment.by_task(mixed)).values()) == {300 * MIB}
