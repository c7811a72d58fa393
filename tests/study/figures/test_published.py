"""Predicted against published: the measures, on points of which the answer is plain."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from importlib.resources import files

import pytest

from rmtscale.study.figures.published.claims import (
    check_claims,
    context_bytes,
    one_utilization,
    ordered_pairs,
    out_of_memory,
    pairs_within,
    repeats,
    source_errors,
)
from rmtscale.study.figures.published.points import SOURCES, Published, published_points


def made(**changes: object) -> Published:
    return replace(published_points()[0], **changes)  # type: ignore[arg-type]


def test_the_table_holds_measurements_with_sources() -> None:
    text = (files("rmtscale.study.figures.published") / "published.csv").read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["kind"] for row in rows} == {"time", "memory"}
    assert all(row["source"] and row["where"] and row["value"] for row in rows)
    assert not any("COMPUTED" in row["note"] for row in rows)
    assert {row["id"].split("-")[0] for row in rows} == set(SOURCES)
    assert len(published_points()) == len(rows) - sum("INCONSISTENT" in row["note"] for row in rows)


def test_seconds_of_what_a_source_prints() -> None:
    by_name = {one.name: one for one in published_points()}
    # 19.561 samples a second of 2,048 stand in the same line.
    assert by_name["bloom-176b-384"].measured == pytest.approx(2048 / 19.561, rel=1e-3)
    assert by_name["korthikanti-t5-22b-full"].measured == 1.42
    tokens = by_name["titan-8b-8-cp8-time"]
    assert tokens.measured == pytest.approx(262_144 / (8 * 548))


def test_layouts_are_read_as_the_sources_have_them() -> None:
    by_name = {one.name: one.layout for one in published_points()}
    assert by_name["korthikanti-t5-175b-selective"] == "tp8-sp-pp8-vp3-selective"
    assert by_name["bloom-176b-384"] == "tp4-pp12-dp8-zero1-mb2-full"
    assert by_name["titan-8b-8-fsdp-time"] == "dp8-zero3-mb2-alternate"
    assert by_name["titan-8b-8-fsdp-float8-time"] == "dp8-zero3-mb2-attention"
    assert by_name["titan-405b-512-cp8-time"] == "tp8-sp-pp8-cp8-torch-zero3-full"


def test_order_of_pairs() -> None:
    a = made(source="bloom", kind="time", layout="a", alike=("m",), measured=100, predicted=90)
    b = replace(a, layout="b", measured=110, predicted=95)
    near = replace(a, layout="c", measured=101, predicted=200)
    other = replace(b, layout="d", alike=("n",))
    assert ordered_pairs([a, b]) == (1, 1)
    assert ordered_pairs([a, replace(b, predicted=80)]) == (0, 1)
    assert ordered_pairs([a, near]) == (0, 0)
    assert ordered_pairs([a, other]) == (0, 0)
    assert pairs_within([a, b], 0.09) == 0
    assert pairs_within([b, a], 0.11) == 1


def test_what_was_measured_twice_varies() -> None:
    a = made(source="bloom", kind="time", layout="a", alike=("m",), measured=100)
    again = [replace(a, measured=110), replace(a, measured=104), replace(a, layout="b")]
    ((times, spread),) = repeats([a, *again])
    assert times == 3
    assert spread == pytest.approx(0.1)


def test_one_utilization_is_that_of_the_others() -> None:
    a = made(source="bloom", kind="time", flops=100, peak=1.0, measured=200.0, float8=False)
    b = replace(a, source="megatron", measured=400.0)
    # Half and a quarter of the peak: each is predicted by the other's.
    assert one_utilization([a, b], "bloom") == [pytest.approx(1.0)]
    assert one_utilization([a, b], "megatron") == [pytest.approx(-0.5)]


def test_one_constant_of_memory_and_what_fits() -> None:
    a = made(source="bloom", kind="memory", measured=60.0, predicted=50.0, room=80)
    rows = [a, replace(a, measured=65.0, predicted=50.0), replace(a, measured=70.0)]
    assert context_bytes(rows, "bloom") == 15.0
    gone = replace(a, measured=0.0, predicted=70.0)
    assert out_of_memory([*rows, gone]) == (4, 4)
    assert out_of_memory([*rows, replace(gone, predicted=60.0)]) == (3, 4)


def test_what_the_predictions_reach() -> None:
    """The sources that nothing of the structure was blind to, and the claims that are made."""
    errors = {(one.source, one.kind): one for one in source_errors(published_points())}
    assert errors["bloom", "time"].median < 0.08
    assert errors["megatron", "time"].median < 0.08
    assert errors["korthikanti", "time"].worst < 0.15
    assert errors["bloom", "memory"].median < 0.05
    assert errors["titan", "time"].median < 0.15
    claims = check_claims(published_points())
    assert len(claims) == 8
    assert {claim.outcome for claim in claims} <= {"pass", "fail"}
