"""BABILong, runs 6 and 7: what its pages say of the arms, from their committed readings."""

from __future__ import annotations

import json
import os
import statistics

import numpy as np
import pytest

from rmtscale.study.figures.babilong.published import published
from rmtscale.study.figures.babilong.runs import PLAIN, runs_of
from rmtscale.study.figures.babilong.standing import side_of
from rmtscale.study.figures.figure import REPORTS
from rmtscale.study.tasks.babi import grammar
from rmtscale.study.tasks.babi.asked import Asked
from rmtscale.study.tasks.babi.pool import load_pool
from tests.committed import babilong_records, babilong_widths
from tests.study.tasks.story_solver import rare_by_hand

CONTROL, LATE, BOTH = "b1b6209d700cefb7", "c4f8231bbd114792", "4166ac7726bab725"
QA3_OLD, QA3_LATE, QA3_BOTH = "fe523a1d1ea31d83", "35ce9b4bcd56b798", "fb4fe709ff23c3ba"

# Run 7: what it began with, and its arms.
QA1_BEGUN, QA1_TOLD = "e5ffaeb3bba8ecec", "b0ef44ee30b6bb23"
QA2_BEGUN, QA2_CONTROL = "33e12954389f8113", "7434d7785242a66f"
QA2_LIGHT, QA2_TOLD, QA2_FINAL = "38e9e6c59f1082d4", "6c7406010f7c086e", "a5ef26bb3e3d00ca"
QA3_BEGUN, QA3_CONTROL, QA3_TOLD = "bbf0e18602f8e576", "764a7d9853aa3b32", "38bc86661e8c2e57"
QA3_FINAL = "da3e80fe81b53527"


def answers() -> dict[tuple[str, int, float], str]:
    """A 1 for each of 400 right answers, by weights, segments and dead band."""
    lines = map(json.loads, (REPORTS / "babilong/widths.jsonl").read_text().splitlines())
    return {
        (
            line["point"]["weights"],
            line["point"]["segments"],
            line["point"].get("dead_band", 0.0),
        ): (line["right"])
        for line in lines
        if (line["point"]["by"], line["point"]["samples"]) == ("accuracy", 400)
    }


def assert_apart(differences: list[float], points: float, low: float, high: float) -> None:
    """Asserts a mean of paired differences, in points, and its 95 % interval."""
    mean = statistics.mean(differences)
    error = statistics.stdev(differences) / len(differences) ** 0.5
    assert mean == pytest.approx(points, abs=0.051)
    assert (mean - 1.96 * error, mean + 1.96 * error) == pytest.approx((low, high), abs=0.051)


@pytest.mark.parametrize(
    ("width", "ahead", "behind", "right", "points", "low", "high"),
    [
        (0.6, CONTROL, LATE, (753, 740), 1.6, 0.0, 3.3),
        (0.6, BOTH, LATE, (750, 740), 1.3, -0.4, 2.9),
        (0.6, QA3_BOTH, QA3_LATE, (718, 697), 2.6, 0.5, 4.7),
        (0.4, QA1_TOLD, QA1_BEGUN, (794, 793), 0.1, -0.3, 0.5),
        (0.4, QA2_CONTROL, QA2_BEGUN, (760, 769), -1.1, -2.7, 0.4),
        (0.4, QA2_LIGHT, QA2_CONTROL, (760, 760), 0.0, -1.6, 1.6),
        (0.4, QA2_TOLD, QA2_CONTROL, (764, 760), 0.5, -1.1, 2.1),
        (0.4, QA3_CONTROL, QA3_BEGUN, (740, 740), 0.0, -1.5, 1.5),
        (0.4, QA3_TOLD, QA3_CONTROL, (729, 740), -1.4, -3.0, 0.2),
    ],
)
def test_arms_on_the_same_800_stories(
    width: float,
    ahead: str,
    behind: str,
    right: tuple[int, int],
    points: float,
    low: float,
    high: float,
) -> None:
    read = answers()
    first, second = (read[who, 64, width] + read[who, 256, width] for who in (ahead, behind))
    assert (first.count("1"), second.count("1")) == right
    pairs = zip(first, second, strict=True)
    assert_apart([100.0 * (int(one) - int(other)) for one, other in pairs], points, low, high)


def long_answers(weights: str, width: float) -> list[str]:
    """A 1 for each of the first 400 test stories that is right, at 64k, 128k, 512k and 1M."""
    found = {
        one.point.length: one.right
        for one in babilong_records().latest().values()
        if (one.point.weights, one.point.dead_band) == (weights, width)
        if one.point.samples == 400
    }
    return [found[length] or "" for length in ("64k", "128k", "512k", "1M")]


def by_story(ahead: list[str], behind: list[str]) -> list[float]:
    """Points of each story by which one reading is ahead, over the four lengths."""
    sums = [
        [sum(map(int, story)) for story in zip(*reading, strict=True)]
        for reading in (ahead, behind)
    ]
    return [25.0 * (one - other) for one, other in zip(*sums, strict=True)]


@pytest.mark.parametrize(
    ("ahead", "behind", "points", "low", "high"),
    [
        (QA2_TOLD, QA2_CONTROL, 2.4, 0.3, 4.6),
        (QA2_LIGHT, QA2_CONTROL, 1.0, -1.3, 3.3),
        (QA3_TOLD, QA3_CONTROL, -0.2, -2.0, 1.5),
    ],
)
def test_arms_on_the_same_test_stories(
    ahead: str, behind: str, points: float, low: float, high: float
) -> None:
    apart = by_story(long_answers(ahead, 0.4), long_answers(behind, 0.4))
    assert len(apart) == 400
    assert_apart(apart, points, low, high)


def first_questions(qa: str, count: int) -> list[Asked]:
    """The first test questions of a task, as ``evaluate`` reads them at every length."""
    if not os.environ.get("RMTSCALE_DATA"):
        pytest.skip("RMTSCALE_DATA names no folder with the original bAbI files")
    pool = load_pool(qa, "original", "test")
    order = np.random.default_rng((20_240_614, 0)).permutation(len(pool.asked))[:count]
    return [pool.asked[number] for number in order]


@pytest.mark.parametrize(
    ("qa", "weights", "usual", "rare"),
    [
        ("qa2", QA2_FINAL, [846, 845, 334, 324, 64], [146, 140, 52, 46, 9]),
        ("qa3", QA3_FINAL, [805, 803, 313, 316, 87], [190, 140, 53, 55, 5]),
    ],
)
def test_most_of_what_is_lost_is_asked_seldom(
    qa: str, weights: str, usual: list[int], rare: list[int]
) -> None:
    """Right answers at 2k, 32k, 128k, 1M and 10M, with a dead band of 0.5."""
    read = {
        one.point.length: one.right or ""
        for one in babilong_records().latest().values()
        if (one.point.weights, one.point.dead_band) == (weights, 0.5)
    }
    asked = [one.question in rare_by_hand(qa, one.facts) for one in first_questions(qa, 1000)]
    found = [
        [
            sum(
                right == "1"
                for right, seldom in zip(read[length], asked, strict=False)
                if seldom == kind
            )
            for length in ("2k", "32k", "128k", "1M", "10M")
        ]
        for kind in (False, True)
    ]
    assert found == [usual, rare]
    counts = [[sum(asked[:count]), count] for count in (1000, 400, 100)]
    assert counts == (
        [[148, 1000], [61, 400], [17, 100]] if qa == "qa2" else [[194, 1000], [79, 400], [13, 100]]
    )


def _became_of(asked: Asked) -> str:
    """Follows the facts by hand: ``held``, ``dropper there`` or ``dropper left``."""
    thing = asked.question.removesuffix("?").split()[-1]
    at: dict[str, str] = {}
    holder = dropper = place = ""
    for fact in asked.facts:
        words = fact.removesuffix(".").split()
        if words[-2] == "the" and words[-1] not in grammar.OBJECTS:
            at[words[0]] = words[-1]
        elif thing in words:
            takes = words[1] in ("got", "grabbed", "picked", "took")
            holder, dropper = (words[0], "") if takes else ("", words[0])
            place = at.get(words[0], "")
    assert asked.answer == (at[holder] if holder else place)
    return "held" if holder else "dropper there" if at[dropper] == place else "dropper left"


def test_what_arms_of_run_7_are_wrong_about() -> None:
    kinds = [_became_of(one) for one in first_questions("qa2", 400)]
    counted = [kinds.count(kind) for kind in ("held", "dropper there", "dropper left")]
    assert counted == [134, 205, 61]

    def right(weights: str, width: float) -> list[int]:
        """Of each kind, the four lengths together."""
        return [
            sum(
                reading[index] == "1"
                for reading in long_answers(weights, width)
                for index, of_story in enumerate(kinds)
                if of_story == kind
            )
            for kind in ("held", "dropper there", "dropper left")
        ]

    assert right(QA2_CONTROL, 0.4) == [472, 774, 163]
    assert right(QA2_LIGHT, 0.4) == [481, 772, 172]
    assert right(QA2_TOLD, 0.4) == [502, 789, 157]
    assert right(QA2_FINAL, 0.5) == [509, 803, 198]
    apart = by_story(long_answers(QA2_TOLD, 0.4), long_answers(QA2_CONTROL, 0.4))
    by_kind = {
        kind: [points for points, of in zip(apart, kinds, strict=True) if of == kind]
        for kind in set(kinds)
    }
    assert_apart(by_kind["held"], 5.6, 2.2, 9.0)
    assert_apart(by_kind["dropper there"], 1.8, 0.3, 3.4)
    assert_apart(by_kind["dropper left"], -2.5, -13.2, 8.3)


def test_late_facts_read_plain() -> None:
    read = answers()
    right = [read[weights, 256, 0.0].count("1") for weights in (QA3_OLD, QA3_LATE, QA3_BOTH)]
    assert right == [249, 306, 257]


def test_the_later_qa1_read_plain_is_nowhere_below_the_published_rmt() -> None:
    (run,) = (
        run
        for run in runs_of(babilong_records().latest().values(), babilong_widths())
        if (run.task, run.variant) == ("qa1", PLAIN)
        if {(one.training and one.training.steps) for one in run.curve.values()} == {13_050}
    )
    theirs = published()["rmt"]["qa1"]
    assert list(run.curve) == list(theirs)
    assert "behind" not in {side_of(one, theirs[name]) for name, one in run.curve.items()}


@pytest.mark.parametrize(("qa", "own", "closing"), [("qa2", 16, 0.1), ("qa3", 22, 0.2)])
def test_how_often_trainings_come_to_it(qa: str, own: int, closing: float) -> None:
    """Of all training stories: percent of the questions, and of up to 12 closing ones."""
    asked = load_pool(qa, "generated", "train", True).asked
    assert len(asked) == pytest.approx(30_000, rel=1e-3)
    rare = [{question for question, _ in one.rare} for one in asked]
    share = statistics.mean(one.question in seldom for one, seldom in zip(asked, rare, strict=True))
    assert round(100 * share) == own
    drawn = statistics.mean(
        sum(question in seldom for question, _ in one.closing) * min(1, 12 / len(one.closing))
        for one, seldom in zip(asked, rare, strict=True)
        if one.closing
    )
    assert round(drawn, 1) == closing
