"""BABILong, run 6: what its pages say of the arms, from their committed readings."""

from __future__ import annotations

import json
import statistics

import pytest

from rmtscale.study.figures.figure import REPORTS

CONTROL, LATE, BOTH = "b1b6209d700cefb7", "c4f8231bbd114792", "4166ac7726bab725"
QA3_OLD, QA3_LATE, QA3_BOTH = "fe523a1d1ea31d83", "35ce9b4bcd56b798", "fb4fe709ff23c3ba"


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


@pytest.mark.parametrize(
    ("ahead", "behind", "right", "points", "low", "high"),
    [
        (CONTROL, LATE, (753, 740), 1.6, 0.0, 3.3),
        (BOTH, LATE, (750, 740), 1.3, -0.4, 2.9),
        (QA3_BOTH, QA3_LATE, (718, 697), 2.6, 0.5, 4.7),
    ],
)
def test_arms_on_the_same_800_stories(
    ahead: str, behind: str, right: tuple[int, int], points: float, low: float, high: float
) -> None:
    read = answers()
    first, second = (read[who, 64, 0.6] + read[who, 256, 0.6] for who in (ahead, behind))
    assert (first.count("1"), second.count("1")) == right
    apart = [100.0 * (int(one) - int(other)) for one, other in zip(first, second, strict=True)]
    mean, error = statistics.mean(apart), statistics.stdev(apart) / len(apart) ** 0.5
    assert mean == pytest.approx(points, abs=0.051)
    found = (mean - 1.96 * error, mean + 1.96 * error)
    assert found == pytest.approx((low, high), abs=0.051)


def test_late_facts_read_plain() -> None:
    read = answers()
    right = [read[weights, 256, 0.0].count("1") for weights in (QA3_OLD, QA3_LATE, QA3_BOTH)]
    assert right == [249, 306, 257]
