"""BABILong, run 9: what the pages say of a larger memory, of one model for all, and of SmolLM2."""

from __future__ import annotations

import statistics

import pytest

from rmtscale.study.figures.babilong.published import average, published
from rmtscale.study.figures.babilong.runs import (
    DEAD_BAND,
    PLAIN,
    Run,
    mean_accuracies,
    mean_accuracy,
    runs_of,
    shown,
)
from rmtscale.study.figures.babilong.standing import side_of
from rmtscale.study.figures.figure import REPORTS
from rmtscale.study.records.babilong import BabilongRecord
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.lengths import LENGTHS
from rmtscale.units import format_score
from tests.committed import babilong_records, babilong_widths
from tests.paper.test_babilong_arms import (
    answers,
    assert_apart,
    by_story,
    first_questions,
    long_answers,
)
from tests.paper.test_babilong_run_8 import FINAL, mean_over_lengths, metrics, seconds_of
from tests.study.tasks.story_solver import rare_by_hand

PAGE = (REPORTS / "babilong/tried/README.md").read_text(encoding="utf-8")
OLD, EIGHT, SIXTEEN = FINAL["qa3"], "0a014be79da6e7b2", "e2d4b4432edc21a3"
ALL, SMOLLM2, QA1_OF_RUN_7 = "c92a9f5a473363e3", "fb1aac63d4ae18b6", "050bdd21d7c8df48"
WIDTHS = {OLD: 0.5, EIGHT: 0.4, SIXTEEN: 0.5}
LONG = ("64k", "128k", "512k", "1M")


def runs() -> list[Run]:
    return runs_of(babilong_records().latest().values(), babilong_widths())


def drawn() -> dict[str, Run]:
    return shown(runs(), DEAD_BAND)


def curve(task: str, weights: str, width: float = 0.0) -> dict[str, BabilongRecord]:
    (found,) = (
        dict(run.curve)
        for run in runs()
        if (run.task, run.dead_band, run.records[0].point.weights) == (task, width, weights)
    )
    return found


def test_the_table_of_widths() -> None:
    read = answers()
    for width in (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        cells = (
            ", ".join(str(read[weights, segments, width].count("1")) for segments in (64, 256))
            for weights in (EIGHT, SIXTEEN, ALL)
        )
        assert f"| {width or 'none'} | {' | '.join(cells)} |" in PAGE.replace("**", "")


@pytest.mark.parametrize(
    ("ahead", "behind", "points", "low", "high"),
    [(EIGHT, OLD, -0.6, -2.0, 0.8), (SIXTEEN, EIGHT, 0.8, -0.5, 2.0)],
)
def test_qa3_on_the_same_test_stories(
    ahead: str, behind: str, points: float, low: float, high: float
) -> None:
    read = [long_answers(weights, WIDTHS[weights]) for weights in (ahead, behind)]
    assert_apart(by_story(*read), points, low, high)


def test_rows_of_qa3() -> None:
    names = {OLD: "qa3 old", EIGHT: "8 tokens", SIXTEEN: "16 tokens"}
    for weights, name in names.items():
        counts = [read.count("1") for read in long_answers(weights, WIDTHS[weights])]
        (row,) = (
            line
            for line in PAGE.replace(", **drawn**", "").splitlines()
            if line.startswith(f"| {name} | ") and f" | {WIDTHS[weights]} | {counts[0]} | " in line
        )
        assert f" | {' | '.join(map(str, counts))} | " in row
        assert row.endswith(f" | {curve('qa3', weights, WIDTHS[weights])['10M'].correct} |")


@pytest.mark.parametrize(
    ("ahead", "behind", "widths", "points", "low", "high"),
    [
        (SIXTEEN, OLD, (0.5, 0.5), 8.0, 2.0, 14.0),
        (SIXTEEN, EIGHT, (0.5, 0.4), 8.0, 2.7, 13.3),
        (SIXTEEN, OLD, (0.0, 0.0), 4.0, -7.5, 15.5),
    ],
)
def test_qa3_at_ten_million(
    ahead: str,
    behind: str,
    widths: tuple[float, float],
    points: float,
    low: float,
    high: float,
) -> None:
    first, second = (
        curve("qa3", weights, width)["10M"].right or ""
        for weights, width in zip((ahead, behind), widths, strict=True)
    )
    pairs = zip(first, second, strict=True)
    assert_apart([100.0 * (int(one) - int(other)) for one, other in pairs], points, low, high)


def test_what_is_asked_seldom() -> None:
    questions = first_questions("qa3", 400)
    seldom = [one.question in rare_by_hand("qa3", one.facts) for one in questions]
    assert [4 * seldom.count(kind) for kind in (False, True)] == [1284, 316]
    told = {OLD: (99.0, 68.0), EIGHT: (99.4, 63.6), SIXTEEN: (99.2, 68.0)}
    read = {weights: long_answers(weights, WIDTHS[weights]) for weights in told}
    for weights, expected in told.items():
        found = [
            100.0
            * statistics.mean(
                answer == "1"
                for reading in read[weights]
                for answer, own in zip(reading, seldom, strict=True)
                if own == kind
            )
            for kind in (False, True)
        ]
        assert found == pytest.approx(expected, abs=0.051)
    apart = by_story(read[SIXTEEN], read[EIGHT])
    for kind, expected3 in ((False, (-0.2, -1.0, 0.7)), (True, (4.4, -1.0, 9.9))):
        own = [points for points, rare in zip(apart, seldom, strict=True) if rare == kind]
        assert_apart(own, *expected3)


def test_one_model_of_all_five_tasks() -> None:
    """Its table, beside the drawn models of a task each."""
    best = drawn()

    def percent(record: BabilongRecord) -> str:
        return format_score(record.accuracy, int(record.point.samples > 100))

    for task in QAS:
        own, plain = curve(task, ALL, 0.6), curve(task, ALL)
        cells = [percent(own[at]) for at in ("0k", "4k", "32k", *LONG)]
        cells += [percent(plain["128k"])]
        cells += [percent(best[task].curve["0k"])]
        cells += [f"{100 * best[task].curve[at].accuracy:g}" for at in ("128k", "1M")]
        assert f"| {task} | {' | '.join(cells)} |" in PAGE
    means = mean_accuracies(shown(runs(), DEAD_BAND, "gpt-neox-small, all five"))
    assert list(means) == [at for at in LENGTHS if at != "10M"]
    cells = [format_score(means[at]) for at in ("0k", "4k", "32k", *LONG)]
    plain_mean = shown(runs(), PLAIN, "gpt-neox-small, all five")
    cells.append(format_score(mean_accuracy(plain_mean, "128k") or 0.0))
    assert f"| mean | {' | '.join(cells)} | 99.7 | 97.65 | 96.85 |" in PAGE
    assert 100 * (means["0k"] - means["1M"]) == pytest.approx(5.2, abs=0.051)
    few = [one for one in babilong_records().latest().values() if one.point.weights == ALL]
    (ten,) = (one for one in few if one.point.length == "10M")
    assert (ten.point.stories, ten.point.samples, ten.correct) == ("qa1", 20, 20)


@pytest.mark.parametrize(
    ("task", "points", "low", "high"), [("qa2", 2.5, 1.0, 4.0), ("qa3", -4.0, -7.8, -0.2)]
)
def test_one_model_beside_the_drawn_ones(task: str, points: float, low: float, high: float) -> None:
    own, best = curve(task, ALL, 0.6), drawn()[task].curve
    read = [own[at].right or "" for at in LONG], [(best[at].right or "")[:100] for at in LONG]
    assert_apart(by_story(*read), points, low, high)


def test_one_model_keeps_what_qa2_lost() -> None:
    own = [curve("qa2", ALL, 0.6)[at].right or "" for at in LONG]
    assert sum(read.count("1") for read in own) == 399
    seldom = [one.question in rare_by_hand("qa2", one.facts) for one in first_questions("qa2", 100)]
    assert seldom.count(True) == 17
    assert all(read[at] == "1" for read in own for at, rare in enumerate(seldom) if rare)


def test_smollm2() -> None:
    model = "smollm2, all five"
    best = shown(runs(), PLAIN, model)
    assert {run.records[0].point.weights for run in best.values()} == {SMOLLM2}
    for task in QAS:
        read = best[task].curve
        cells = [
            format_score(read[at].accuracy, int(read[at].point.samples > 100)) if at in read else ""
            for at in ("1k", "4k", "32k", "128k")
        ]
        row = f"| {task} | {' | '.join(cells)} |".replace("|  |", "| |")
        assert row in PAGE
    means = mean_accuracies(best)
    assert {at: format_score(mean) for at, mean in means.items()} == {
        "1k": "95.7",
        "4k": "85.2",
        "32k": "57.8",
    }
    theirs, small = average(published()["rmt"]), curve("qa3", ALL)
    assert {at: format_score(theirs[at], 0) for at in ("1k", "4k", "32k", "128k")} == {
        "1k": "98",
        "4k": "92",
        "32k": "78",
        "128k": "59",
    }
    mean_small = mean_accuracies(shown(runs(), PLAIN, "gpt-neox-small, all five"))
    assert [at for at in means if mean_small[at] > means[at]] == ["4k", "32k"]
    assert small["1k"].accuracy > best["qa3"].curve["1k"].accuracy
    records = [one for run in best.values() for one in run.records]
    speeds = [one.tokens_per_second / 1e6 for one in records]
    assert (min(speeds), max(speeds)) == pytest.approx((0.52, 1.31), abs=0.005)
    peaks = {f"{(one.memory.peak_allocated_bytes or 0) / 2**30:.2f}" for one in records}
    assert peaks == {"1.38"}


def test_seconds_and_steps() -> None:
    names = ("all-on", "qa3-8", "qa3-16", "smollm2-all", "smollm2-lora-all")
    seconds = [seconds_of(f"run-9-{name}") for name in names]
    assert [round(one) for one in seconds] == [316, 346, 344, 291, 108]
    steps = [metrics(f"run-9-{name}")[-1]["step"] for name in names]
    assert steps == [6250, 4500, 4450, 1825, 700]
    peaks = [one["peak_allocated_bytes"] for one in metrics("run-9-smollm2-all")]
    assert max(peaks) / 2**30 == pytest.approx(24.2, abs=0.05)
    stages = {
        name: list(dict.fromkeys(str(one["stage_name"]) for one in metrics(f"run-9-{name}")))
        for name in ("smollm2-all", "smollm2-lora-all")
    }
    assert (len(stages["smollm2-all"]), stages["smollm2-all"][-1]) == (7, "3 segments, burn-in 64")
    assert stages["smollm2-lora-all"] == stages["smollm2-all"][:4]


def averages(best: dict[str, Run]) -> list[float]:
    return [100 * (mean_accuracy(best, at) or 0.0) for at in ("128k", "1M", "10M")]


def test_averages_with_others_in_place_of_what_is_drawn() -> None:
    best = drawn()
    assert best["qa3"].records[0].point.weights == SIXTEEN
    assert averages(best) == pytest.approx([97.65, 96.85, 89.6])
    (old,) = (run for run in runs() if run.shares == share_of("qa3", OLD, 0.5))
    assert averages(best | {"qa3": old}) == pytest.approx([97.55, 96.55, 88.0])
    apart = mean_over_lengths(best["qa3"].shares) - mean_over_lengths(old.shares)
    assert 100 * apart == pytest.approx(0.3, abs=0.051)
    shares = [best[task].curve["128k"].accuracy for task in best]
    error = sum(share * (1 - share) / 400 for share in shares) ** 0.5 / len(shares)
    assert 196 * error == pytest.approx(0.7, abs=0.05)


def share_of(task: str, weights: str, width: float) -> dict[str, float]:
    return {at: one.accuracy for at, one in curve(task, weights, width).items()}


def test_only_64k_is_below_the_published_armt() -> None:
    best, theirs = drawn(), average(published()["armt"])
    ahead = {at: 100 * ((mean_accuracy(best, at) or 0.0) - theirs[at]) for at in LENGTHS}
    assert [at for at in LENGTHS if ahead[at] < 0] == ["64k"]
    told = {"64k": -0.9, "128k": 1.05, "512k": 1.9, "1M": 4.25, "10M": 13.8}
    assert {at: ahead[at] for at in told} == pytest.approx(told, abs=0.001)


def test_qa1_of_run_7_with_a_band() -> None:
    read, best = curve("qa1", QA1_OF_RUN_7, 0.3), drawn()["qa1"]
    means = [mean_over_lengths(share_of("qa1", QA1_OF_RUN_7, 0.3)), mean_over_lengths(best.shares)]
    assert [round(100 * mean, 1) for mean in means] == [98.4, 98.8]
    assert (read["16k"].correct, read["10M"].correct) == (993, 86)
    theirs = published()["rmt"]["qa1"]
    assert "behind" not in {side_of(read[at], theirs[at]) for at in LENGTHS}


def test_what_study_and_training_say() -> None:
    docs = REPORTS.parent / "docs"
    study, training = (
        " ".join((docs / f"{name}.md").read_text(encoding="utf-8").split())
        for name in ("study", "training")
    )
    banded = shown(runs(), DEAD_BAND, "gpt-neox-small, all five")
    mean = format_score(mean_accuracy(banded, "128k") or 0.0)
    both = [banded[task].curve["128k"] for task in ("qa1", "qa2")]
    assert [(one.correct, one.point.samples) for one in both] == [(100, 100), (100, 100)]
    seconds = round(seconds_of("run-9-all-on"))
    assert f"trained on from qa3 for {seconds} s, is better than a model for each" in study
    assert f"(100 % of 100 at 128k) and has not learned qa4 and qa5 through: {mean} %" in study
    means = mean_accuracies(shown(runs(), PLAIN, "smollm2, all five"))
    read = {at: format_score(means[at]) for at in means}
    seconds = round(seconds_of("run-9-smollm2-all"))
    assert f"{read['4k']} % at 4k and {read['32k']} at 32k after {seconds} s" in study
    assert f"had {read['1k']} % in the mean at 1k and {read['32k']} at 32k" in training
    theirs = published()["rmt"]["qa1"]
    for width, right in ((0.0, 78), (0.3, 86)):
        own = curve("qa1", QA1_OF_RUN_7, width)
        assert own["10M"].correct == right
        assert "behind" not in {side_of(own[at], theirs[at]) for at in LENGTHS}
    assert "behind the RMT nowhere, plain or with the band" in study
    assert "as its mean is lower (78 and 86 % at 10M)" in study
