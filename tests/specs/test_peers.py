"""The committed table of other calculators speaks of the same files and truth as our own table."""

from __future__ import annotations

import csv
from collections import defaultdict

import pytest

from tests.generated_docs import ROOT

Rows = list[dict[str, str]]


def read(name: str) -> Rows:
    with (ROOT / "reports" / "models" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def by_calculator() -> dict[str, Rows]:
    """The rows of each calculator, by its name without its version."""
    rows: dict[str, Rows] = defaultdict(list)
    for row in read("peers.csv"):
        rows[row["calculator"].split()[0]].append(row)
    return rows


def test_every_calculator_has_a_row_for_every_config(by_calculator: dict[str, Rows]) -> None:
    assert set(by_calculator) == {"rmtscale", "llm-analysis", "calflops", "fvcore"}
    files = [row["file"] for row in read("configs.csv")]
    for calculator, rows in by_calculator.items():
        assert [row["file"] for row in rows] == files, calculator


def test_ours_is_what_our_own_table_says(by_calculator: dict[str, Rows]) -> None:
    for ours, config in zip(by_calculator["rmtscale"], read("configs.csv"), strict=True):
        for column in ("model_type", "parameters", "true_parameters"):
            assert ours[column] == config[column], (ours["file"], column)
        assert bool(ours["refused"]) == bool(config["refused"]), ours["file"]
        every_length = config["flops_lengths"] == config["flops_equal"]
        assert not ours["true_flops"] or (ours["flops_error"] == "0") == every_length


def test_errors_are_those_of_the_numbers_beside_them(by_calculator: dict[str, Rows]) -> None:
    compared = 0
    for row in (row for rows in by_calculator.values() for row in rows):
        for quantity in ("parameters", "flops"):
            said, true, error = row[quantity], row[f"true_{quantity}"], row[f"{quantity}_error"]
            assert bool(error) == bool(said and true), row
            if error:
                compared += 1
                assert (error == "0") == (said == true), row
                assert float(error) == pytest.approx(int(said) / int(true) - 1, rel=1e-5), row
    assert compared > 800


def test_who_gives_no_number_says_why(by_calculator: dict[str, Rows]) -> None:
    for row in (row for rows in by_calculator.values() for row in rows):
        assert row["parameters"] or row["refused"], row
        assert not row["true_flops"] or row["flops"] or row["refused"], row
