"""BABILong: what answers are lost with, told from made-up counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmtscale.study.figures.babilong.runs import DEAD_BAND, runs_of
from rmtscale.study.figures.babilong.where_lost import (
    CAPACITY,
    DRIFT,
    NEVER,
    NOT_NOTED,
    TOGETHER,
    breakdowns_of,
    causes_of,
    sum_of,
    where_lost,
)
from rmtscale.study.records.breakdown import Breakdown, Counted
from tests.committed import babilong_records, babilong_widths
from tests.synthetic.babilong import every, rows


def told(
    near: tuple[int, int], far: tuple[int, int], later: tuple[int, int], several: tuple[int, int]
) -> Breakdown:
    """A breakdown in which so many samples, so many of them right, are in a group."""
    one, two = zip(near, far, strict=True)
    return Breakdown(
        depth=Counted(samples=(near[0], *[0] * 9), correct=(near[1], *[0] * 9)),
        facts_after=Counted(samples=near[:1], correct=near[1:]),
        segments_after=Counted(
            samples=(one[0], 0, 0, 0, 0, one[1]), correct=(two[0], 0, 0, 0, 0, two[1])
        ),
        segments_after_facts=Counted(samples=later[:1], correct=later[1:]),
        segments_spanned=Counted(samples=(near[0], several[0]), correct=(near[1], several[1])),
    )


@pytest.mark.parametrize(
    ("found", "causes"),
    [
        (told((100, 99), (100, 97), (100, 98), (100, 97)), []),
        (told((100, 99), (100, 60), (100, 98), (100, 97)), [DRIFT]),
        (told((100, 99), (100, 98), (100, 60), (100, 97)), [CAPACITY]),
        (told((100, 99), (100, 60), (100, 50), (100, 40)), [DRIFT, CAPACITY, TOGETHER]),
        (told((100, 50), (100, 50), (100, 50), (100, 50)), [NEVER]),
        (told((4, 4), (4, 2), (0, 0), (0, 0)), []),  # too few to tell
        (told((0, 0), (0, 0), (0, 0), (0, 0)), []),
    ],
)
def test_what_answers_are_lost_with(found: Breakdown, causes: list[str]) -> None:
    assert causes_of([found]) == causes


def spanned(*by_length: tuple[int, int, int, int]) -> list[Breakdown]:
    """Samples and right answers with facts in one segment and in several, length by length."""
    base = told((100, 99), (100, 99), (100, 99), (0, 0))
    return [
        replace(base, segments_spanned=Counted(samples=(a, c), correct=(b, d)))
        for a, b, c, d in by_length
    ]


def test_facts_in_several_segments_are_compared_at_equal_lengths() -> None:
    # Longer samples are worse, and have their facts apart more often: no cause of its own.
    assert causes_of(spanned((90, 81, 10, 9), (10, 5, 90, 45))) == []
    assert causes_of(spanned((90, 81, 10, 5), (10, 9, 90, 45))) == [TOGETHER]
    assert causes_of(spanned((100, 90, 0, 0), (0, 0, 100, 50))) == []
    assert causes_of(spanned((50, 50, 50, 50), (1, 1, 0, 0))) == []
    assert causes_of(spanned((10, 0, 10, 10))) == []  # better, not worse


def distant(*by_group: tuple[int, int, int, int]) -> Breakdown:
    """Samples and right answers after noise only and after facts, group by group of distance."""
    noise, noise_right, facts, facts_right = zip(*by_group, strict=True)
    return replace(
        told((100, 99), (100, 99), (0, 0), (0, 0)),
        segments_after=Counted(samples=noise, correct=noise_right),
        segments_after_facts=Counted(samples=facts, correct=facts_right),
    )


def test_later_facts_are_compared_at_equal_distance_and_length() -> None:
    # Far facts are worse, and have others after them more often: no cause of its own.
    assert causes_of([distant((90, 81, 10, 9), (10, 5, 90, 45))]) == []
    assert causes_of([distant((90, 81, 10, 9)), distant((10, 5, 90, 45))]) == []
    # Lost after later facts where they are far alone: near ones would not tell it.
    far = [(100, 98, 100, 98), (0, 0, 0, 0), (0, 0, 0, 0), (100, 98, 100, 80)]
    assert causes_of([distant(*far)]) == [CAPACITY]
    assert causes_of([distant((100, 98, 100, 98)), distant(*far[1:])]) == [CAPACITY]
    assert causes_of([distant((100, 98, 0, 0), (0, 0, 100, 60))]) == []  # nothing to compare


def test_the_page_says_where_it_is_lost() -> None:
    assert where_lost(runs_of(every(1.0))) == NOT_NOTED
    noted = told((100, 99), (100, 60), (100, 98), (100, 97))
    qa1 = [replace(one, breakdown=noted) for one in rows("qa1", 0.5, ("0k", "4k", "1M"))]
    (run,) = runs_of(qa1)
    assert sum_of(breakdowns_of(run)).depth.samples[0] == 200  # not those of 0k
    text = where_lost([run, *runs_of(rows("qa2", 0.5))])
    assert (
        "| ours | qa1 |\n|---|---|\n| near | 99 (200) |\n| far | 60 (200) |\n"
        "| near, facts | 98 (200) |\n| 1 segment | 99 (200) |\n| several | 97 (200) |\n"
        f"\nLost with:\n\n* qa1: {DRIFT}\n\n"
    ) in text
    assert (
        "| only noise since, ours | qa1 |\n|---|---|\n| 0 | 99 (200) |\n| 1 |  |\n"
        "| 2 to 7 |  |\n| 8 to 31 | 60 (200) |\n\n"
        "| facts too since, ours | qa1 |\n|---|---|\n| 0 | 98 (200) |\n\n"
    ) in text
    assert (
        "| share, ours | qa1, 1M |\n|---|---|\n| 0 to 0.1 | 99 (100) |\n| 0.1 to 0.2 |  |\n" in text
    )
    held = [replace(one, point=replace(one.point, dead_band=0.3)) for one in qa1]
    both = where_lost(runs_of([*qa1, *held]))
    assert "\n\n| share, ours | qa1, 1M |\n" in both
    assert "\n\n| share, band | qa1, 1M |\n" in both
    assert f"\n* qa1: {DRIFT}\n* qa1, band: {DRIFT}\n" in both


def test_a_task_that_was_read_less_far_has_empty_cells() -> None:
    """Tasks beside one another: none takes another's row."""
    far = told((100, 99), (100, 60), (100, 98), (100, 97))
    near = replace(far, segments_after=Counted(samples=(100,), correct=(97,)))
    noted = {"qa1": near, "qa2": far}
    text = where_lost(
        runs_of(
            replace(one, breakdown=noted[task])
            for task in noted
            for one in rows(task, 0.5, ("4k",))
        )
    )
    assert "| 0 | 97 (100) | 99 (100) |\n| 1 |  |  |\n" in text
    assert "| 8 to 31 |  | 60 (100) |\n" in text


def test_rows_of_the_committed_page_fit_a_terminal() -> None:
    text = where_lost(runs_of(babilong_records().latest().values(), babilong_widths()))
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) > 50
    assert max(map(len, tables)) <= 80


@pytest.mark.parametrize(
    ("task", "steps", "width", "facts_after", "points"),
    [
        ("qa2", 29_850, 0.4, [(95, 660), (91, 420), (90, 236), (82, 224), (73, 60)], 6.7),
        ("qa3", 29_200, 0.4, [(95, 656), (91, 384), (91, 292), (93, 152), (88, 116)], 4.1),
        ("qa2", 38_650, 0.5, [(97, 660), (95, 420), (92, 236), (89, 224), (90, 60)], 3.5),
        ("qa3", 38_050, 0.5, [(94, 656), (91, 384), (90, 292), (89, 152), (91, 116)], 4.1),
        ("qa2", 51_800, 0.4, [(97, 660), (95, 420), (99, 236), (96, 224), (95, 60)], 1.1),
        ("qa3", 51_250, 0.5, [(94, 656), (96, 384), (89, 292), (94, 152), (87, 116)], 0.2),
    ],
)
def test_what_was_lost_with_later_facts(
    task: str, steps: int, width: float, facts_after: list[tuple[int, int]], points: float
) -> None:
    """The percents and samples of reports/babilong/tried and docs/study.md, and the points that
    later facts cost at equal distance: Mantel and Haenszel's difference of shares."""
    (run,) = (
        run
        for run in runs_of(babilong_records().latest().values(), babilong_widths())
        if (run.task, run.variant) == (task, DEAD_BAND)
        if {(one.training and one.training.steps) for one in run.curve.values()} == {steps}
        if {one.point.dead_band for one in run.curve.values()} == {width}
    )
    found = sum_of(
        breakdown
        for length in ("64k", "128k", "512k", "1M")
        if (breakdown := run.curve[length].breakdown)
    )
    after = zip(found.facts_after.samples, found.facts_after.correct, strict=True)
    assert [(round(100 * right / asked), asked) for asked, right in after if asked] == facts_after
    noise, facts = found.segments_after, found.segments_after_facts
    lost = weights = 0.0
    for asked, right, also_asked, also_right in zip(
        noise.samples, noise.correct, facts.samples, facts.correct, strict=False
    ):
        if asked and also_asked:
            weight = asked * also_asked / (asked + also_asked)
            lost += weight * (right / asked - also_right / also_asked)
            weights += weight
    assert round(100 * lost / weights, 1) == points
