"""Figure 2: every analytic claim of the paper, and the committed report against the code."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from rmtscale.costs.flops import estimate_flops
from rmtscale.report.claims import within
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.study.figures.figure_2 import claims as figure_2

REPORT = Path(__file__).parents[2] / "reports" / "figure-2"


@pytest.mark.parametrize("series", figure_2.paper_points())
def test_every_point(series: str) -> None:
    ours = dict(figure_2.our_points()[series])
    for tokens, value in figure_2.paper_points()[series]:
        assert ours[tokens] == pytest.approx(value, rel=2e-4)


def test_headlines() -> None:
    assert figure_2.headline("OPT-125M") == pytest.approx(295.07, abs=0.005)
    assert figure_2.headline("OPT-175B") == pytest.approx(29.02, abs=0.005)
    assert figure_2.headline("OPT-1.3B") == pytest.approx(154.4, abs=0.05)
    assert figure_2.headline("OPT-6.7B") == pytest.approx(81.6, abs=0.05)
    assert figure_2.headline("OPT-30B") == pytest.approx(48.4, abs=0.05)


def test_4000_segments() -> None:
    """2,048,000 tokens are 4,000 segments of 512, each at the cost of one pass over 512."""
    model = PRESETS["opt-175b"]
    rmt = estimate_flops(model, Workload(tokens=2_048_000), Recurrence(512, 10), "paper").total
    assert rmt == 4000 * estimate_flops(model, Workload(tokens=512), None, "paper").total


@pytest.mark.parametrize("name", figure_2.MODELS.values())
def test_rmt_scales_linearly_whatever_the_model(name: str) -> None:
    def cost(tokens: int) -> int:
        work = Workload(tokens=tokens)
        return estimate_flops(PRESETS[name], work, Recurrence(512, 0), "paper").total

    for tokens in figure_2.LENGTHS:
        assert cost(tokens) * 512 == cost(512) * tokens


def test_larger_models_save_less() -> None:
    """The larger the model, the more of its cost is linear already."""
    for convention in ("paper", "hoffmann", "matmul", "kaplan"):
        savings = [figure_2.headline(title, convention) for title in figure_2.MODELS]
        assert savings == sorted(savings, reverse=True)


def test_all_claims_hold_and_one_can_fail() -> None:
    claims = figure_2.check_claims(figure_2.our_points(), figure_2.paper_points())
    assert [claim.outcome for claim in claims] == ["pass"] * 12
    shifted = {
        series: [point._replace(value=point.value * 1.001) for point in points]
        for series, points in figure_2.paper_points().items()
    }
    broken = figure_2.check_claims(figure_2.our_points(), shifted)
    assert [claim.outcome for claim in broken][:7] == ["fail"] * 7
    assert within("x", 100, 101, 0.005).outcome == "fail"


def test_every_series_is_committed_at_every_length() -> None:
    with (REPORT / "figure-2.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7 * 13
    assert {row["series"] for row in rows} == set(figure_2.paper_points())
