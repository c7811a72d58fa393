"""BABILong, run 8: what the pages say of its arms, widths, averages and readings of one sample."""

from __future__ import annotations

import json
import statistics

import pytest

from rmtscale.study.figures.babilong.runs import (
    DEAD_BAND,
    PLAIN,
    Run,
    mean_accuracy,
    runs_of,
    shown,
)
from rmtscale.study.figures.figure import REPORTS
from rmtscale.study.tasks.lengths import LENGTHS
from tests.committed import babilong_records, babilong_widths
from tests.paper.test_babilong_arms import (
    answers,
    assert_apart,
    by_story,
    first_questions,
    long_answers,
)
from tests.study.tasks.story_solver import rare_by_hand

PAGE = (REPORTS / "babilong/tried/README.md").read_text(encoding="utf-8")
BEGUN = {"qa2": "a5ef26bb3e3d00ca", "qa3": "da3e80fe81b53527"}
CONTROL = {"qa2": "8989f649362b27c1", "qa3": "d3f999e0798f3c0b"}
RARE = {"qa2": "f1b03be5e358ef0c", "qa3": "db75d039992bf89b"}
MOST = "782d382d852ac6ef"
FINAL = {"qa2": "0a93b01f73d69055", "qa3": "7c5a4e1cdb0ae76f"}
WIDTHS = {"qa2": 0.4, "qa3": 0.5}
"""Of the finals; all arms and the checkpoints of run 7 were read with 0.5."""


@pytest.mark.parametrize(
    ("ahead", "behind", "right", "points", "low", "high"),
    [
        (CONTROL["qa2"], BEGUN["qa2"], (778, 770), 1.0, -0.1, 2.1),
        (RARE["qa2"], CONTROL["qa2"], (786, 778), 1.0, -0.5, 2.5),
        (CONTROL["qa3"], BEGUN["qa3"], (757, 744), 1.6, 0.1, 3.2),
        (RARE["qa3"], CONTROL["qa3"], (744, 757), -1.6, -4.0, 0.7),
        (MOST, CONTROL["qa3"], (725, 757), -4.0, -6.5, -1.5),
    ],
)
def test_arms_on_the_same_800_stories(
    ahead: str, behind: str, right: tuple[int, int], points: float, low: float, high: float
) -> None:
    read = answers()
    first, second = (read[who, 64, 0.5] + read[who, 256, 0.5] for who in (ahead, behind))
    assert (first.count("1"), second.count("1")) == right
    pairs = zip(first, second, strict=True)
    assert_apart([100.0 * (int(one) - int(other)) for one, other in pairs], points, low, high)


@pytest.mark.parametrize(
    ("qa", "ahead", "behind", "points", "low", "high"),
    [
        ("qa2", CONTROL["qa2"], BEGUN["qa2"], 1.3, -0.1, 2.8),
        ("qa2", RARE["qa2"], CONTROL["qa2"], -0.8, -2.2, 0.7),
        ("qa2", FINAL["qa2"], BEGUN["qa2"], 2.2, 0.6, 3.9),
        ("qa3", CONTROL["qa3"], BEGUN["qa3"], -0.1, -1.7, 1.5),
        ("qa3", RARE["qa3"], CONTROL["qa3"], 0.9, -0.5, 2.3),
        ("qa3", MOST, CONTROL["qa3"], 1.5, -0.2, 3.2),
        ("qa3", FINAL["qa3"], BEGUN["qa3"], 0.8, -0.8, 2.3),
    ],
)
def test_arms_on_the_same_test_stories(
    qa: str, ahead: str, behind: str, points: float, low: float, high: float
) -> None:
    width = WIDTHS[qa] if ahead == FINAL[qa] else 0.5
    assert_apart(by_story(long_answers(ahead, width), long_answers(behind, 0.5)), points, low, high)


@pytest.mark.parametrize(
    ("length", "points", "low", "high"), [("512k", 5.0, 1.9, 8.1), ("1M", 4.0, 1.3, 6.7)]
)
def test_where_qa2_gained(length: str, points: float, low: float, high: float) -> None:
    at = ("64k", "128k", "512k", "1M").index(length)
    pairs = zip(
        long_answers(FINAL["qa2"], 0.4)[at], long_answers(BEGUN["qa2"], 0.5)[at], strict=True
    )
    assert_apart([100.0 * (int(one) - int(other)) for one, other in pairs], points, low, high)


@pytest.mark.parametrize(
    ("qa", "weights", "width", "usual", "rare"),
    [
        ("qa2", BEGUN["qa2"], 0.5, 96.8, 81.1),
        ("qa2", CONTROL["qa2"], 0.5, 96.6, 90.6),
        ("qa2", RARE["qa2"], 0.5, 95.6, 91.4),
        ("qa2", FINAL["qa2"], 0.4, 96.5, 97.1),
        ("qa3", BEGUN["qa3"], 0.5, 98.3, 67.1),
        ("qa3", CONTROL["qa3"], 0.5, 98.2, 67.1),
        ("qa3", RARE["qa3"], 0.5, 98.9, 68.7),
        ("qa3", MOST, 0.5, 98.6, 73.1),
        ("qa3", FINAL["qa3"], 0.5, 99.0, 68.0),
    ],
)
def test_what_is_asked_seldom(
    qa: str, weights: str, width: float, usual: float, rare: float
) -> None:
    seldom = [one.question in rare_by_hand(qa, one.facts) for one in first_questions(qa, 400)]
    read = long_answers(weights, width)
    found = [
        100.0
        * statistics.mean(
            answer == "1"
            for reading in read
            for answer, kind in zip(reading, seldom, strict=True)
            if kind == asked
        )
        for asked in (False, True)
    ]
    assert found == pytest.approx([usual, rare], abs=0.051)


@pytest.mark.parametrize(
    ("qa", "ahead", "behind", "rare", "points", "low", "high"),
    [
        ("qa2", CONTROL["qa2"], BEGUN["qa2"], True, 9.4, 1.5, 17.4),
        ("qa2", FINAL["qa2"], BEGUN["qa2"], True, 16.0, 9.0, 23.0),
        ("qa2", FINAL["qa2"], BEGUN["qa2"], False, -0.2, -1.6, 1.2),
        ("qa2", RARE["qa2"], CONTROL["qa2"], False, -1.0, -2.4, 0.3),
        ("qa2", RARE["qa2"], CONTROL["qa2"], True, 0.8, -5.6, 7.2),
        ("qa3", MOST, CONTROL["qa3"], False, 0.4, -0.8, 1.6),
        ("qa3", MOST, CONTROL["qa3"], True, 6.0, -0.8, 12.9),
    ],
)
def test_arms_on_what_is_asked_seldom(
    qa: str, ahead: str, behind: str, rare: bool, points: float, low: float, high: float
) -> None:
    seldom = [one.question in rare_by_hand(qa, one.facts) for one in first_questions(qa, 400)]
    width = WIDTHS[qa] if ahead == FINAL[qa] else 0.5
    apart = by_story(long_answers(ahead, width), long_answers(behind, 0.5))
    chosen = [points for points, kind in zip(apart, seldom, strict=True) if kind == rare]
    assert_apart(chosen, points, low, high)


def metrics(name: str) -> list[dict[str, float]]:
    path = REPORTS / f"babilong/tried/{name}-training.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def seconds_of(name: str) -> float:
    return sum(one["seconds"] for one in metrics(name))


def test_seconds_and_steps() -> None:
    arms = ("qa2-control", "qa2-rare", "qa3-control", "qa3-rare", "qa3-most")
    seconds = [seconds_of(f"run-8-{name}") for name in arms]
    assert 361.5 < min(seconds) < max(seconds) < 367.5
    steps = [metrics(f"run-8-{name}")[-1]["step"] for name in arms]
    assert steps == [3800, 3800, 3850, 3850, 3850]
    finals = [seconds_of(f"run-8-{task}-final") for task in FINAL]
    assert 360.5 < min(finals) < max(finals) < 365.5
    assert {metrics(f"run-8-{task}-final")[-1]["step"] for task in FINAL} == {9350}


def test_minutes_of_all_trainings_of_the_longest_trained() -> None:
    """docs/study.md, "5 to 56 minutes": qa1 is one run, qa2 nine of them."""
    of_qa2 = [f"{run}-qa2-{name}" for run, name in ((3, "state"), (4, "noise"))]
    of_qa2 += ["5-qa2", "6-qa2-control"]
    of_qa2 += [f"{run}-qa2-{name}" for run, name in ((6, "final"), (7, "told"), (7, "final"))]
    of_qa2 += ["8-qa2-rare", "8-qa2-final"]
    minutes = [
        sum(seconds_of(f"run-{name}") for name in names) / 60 for names in (["2-qa1"], of_qa2)
    ]
    study = (REPORTS.parent / "docs/study.md").read_text(encoding="utf-8")
    assert "5 to 56 minutes" in " ".join(study.split())
    assert [round(one) for one in minutes] == [5, 56]


def test_the_table_of_widths() -> None:
    read = answers()
    for width in (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        cells = (
            ", ".join(
                f"{read[weights, segments, width].count('1') / 4 + 1e-9:.1f}"
                for segments in (64, 256)
            )
            for weights in FINAL.values()
        )
        row = f"| {width or 'none'} | {' | '.join(cells)} |"
        assert row in PAGE.replace("**", "")


def drawn() -> dict[str, Run]:
    """The run of each task that the page drew after this run, with a dead band."""
    best = shown(runs_of(babilong_records().latest().values(), babilong_widths()), DEAD_BAND)
    return best | {"qa3": of_weights("qa3", FINAL["qa3"])}


def of_weights(task: str, weights: str) -> Run:
    (found,) = (
        run
        for run in runs_of(babilong_records().latest().values(), babilong_widths())
        if (run.task, run.dead_band) == (task, 0.5)
        if {one.point.weights for one in run.curve.values()} == {weights}
    )
    return found


def averages(runs: dict[str, Run]) -> list[float]:
    return [100 * (mean_accuracy(runs, at) or 0.0) for at in ("128k", "1M", "10M")]


def test_averages_with_others_in_place_of_what_is_drawn() -> None:
    best = drawn()
    weights = {task: best[task].curve["10M"].point.weights for task in FINAL}
    assert weights == FINAL
    assert averages(best) == pytest.approx([97.55, 96.55, 88.0])
    most, rare = of_weights("qa3", MOST), of_weights("qa2", RARE["qa2"])
    assert averages(best | {"qa3": most}) == pytest.approx([97.4, 97.0, 88.4])
    assert averages(best | {"qa2": rare}) == pytest.approx([97.2, 96.15, 89.4])
    before = {task: of_weights(task, BEGUN[task]) for task in FINAL}
    assert averages(best | before) == pytest.approx([96.8, 96.0, 89.0])
    shares = [best[task].curve["128k"].accuracy for task in best]
    error = sum(share * (1 - share) / 400 for share in shares) ** 0.5 / len(shares)
    assert 196 * error == pytest.approx(0.7, abs=0.05)


def mean_over_lengths(shares: dict[str, float]) -> float:
    """The mean over all twelve lengths along straight lines between them."""
    values = [shares[at] for at in LENGTHS]
    return (sum(values) - (values[0] + values[-1]) / 2) / (len(values) - 1)


def test_which_arms_the_page_would_draw_if_they_were_as_good_at_the_short_lengths() -> None:
    best = drawn()
    for task, arm, would in (("qa3", MOST, True), ("qa2", RARE["qa2"], False)):
        own, final = of_weights(task, arm).shares, best[task].shares
        assert "32k" not in own
        assert (mean_over_lengths(final | own) > mean_over_lengths(final)) == would


def test_the_earlier_qa1_has_the_higher_mean() -> None:
    means = {
        next(iter(run.curve.values())).point.weights: mean_over_lengths(run.shares)
        for run in runs_of(babilong_records().latest().values(), babilong_widths())
        if (run.task, run.variant) == ("qa1", PLAIN) and set(run.curve) == set(LENGTHS)
    }
    assert {weights: round(100 * mean, 1) for weights, mean in means.items()} == {
        "e5ffaeb3bba8ecec": 98.3,
        "050bdd21d7c8df48": 97.8,
    }


def test_one_sample_alone() -> None:
    read = {
        (one.point.stories, one.point.length): one
        for one in babilong_records().latest().values()
        if one.batch_size == 1
    }
    told = {("qa1", "10M"): 3.37, ("qa1", "1M"): 0.354, ("qa1", "128k"): 0.062}
    told[("qa2", "10M")] = 3.40
    found = {key: read[key].seconds_per_sample for key in told}
    assert found == pytest.approx(told, rel=0.006)
    peaks = {one.memory.peak_allocated_bytes for one in read.values()}
    assert {f"{(peak or 0) / 2**20:.1f}" for peak in peaks} == {"108.8", "108.9"}
