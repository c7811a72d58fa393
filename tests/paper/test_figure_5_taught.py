"""Reasoning on the pretrained encoder, taught what to write: its page says what was measured."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from rmtscale.study.figures.figure import REPORTS
from rmtscale.study.figures.memory_tasks.recipes import recipes
from rmtscale.study.records.evaluation import EvaluationRecord, EvaluationStore
from rmtscale.study.records.widths import WIDTHS_FILE, WidthStore
from tests.committed import settings_that_ran

TRIED = REPORTS / "figure-5" / "tried" / "pretrained-encoder"
FOLDER = TRIED / "all-weights-reasoning"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
FIRST_STAGE, SECOND_STAGE = 0, 1
MEDIAN, AT_99_9 = 0, 3
STARTS = ("start-0", "start-1", "start-0-no-dropout", "start-1-no-dropout")
PHASES = {"start": "start-reasoning", "short": "short-reasoning", "long": "reasoning"}


def metrics(training: str) -> list[dict[str, Any]]:
    path = FOLDER / f"{training}-training.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def readings(figure: str) -> dict[tuple[int, bool, int], EvaluationRecord]:
    """Of both seeds, before they went on, by seed, whether with a dead band, and segments read."""
    found = {}
    for one in EvaluationStore(REPORTS / figure / "records.jsonl").read().latest().values():
        backbone = one.trained_backbone
        if backbone is None or not backbone.pretrained or backbone.lora_rank is not None:
            continue
        if one.point.task == "reasoning" and len(one.trained_with or ()) == len(PHASES):
            found[one.trained_seed, bool(one.point.dead_band), one.point.segments] = one
    return found


def rows(first: str) -> list[list[str]]:
    """The cells of the table of the page whose first column has this name, below the names."""
    table = next(part for part in PAGE.split("\n\n") if part.startswith(f"| {first} |"))
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def check_cell(cell: str, record: EvaluationRecord) -> None:
    """Each number is the record's, in as many places as the page writes."""
    written = re.fullmatch(r"([\d.]+) % \(([\d.]+) to ([\d.]+)\)", cell)
    assert written, cell
    numbers = record.accuracy, record.low, record.high
    for text, number in zip(written.groups(), numbers, strict=True):
        places = len(text.partition(".")[2])
        assert abs(float(text) - 100 * number) <= 0.5 * 10**-places + 1e-9, (cell, number)
        assert text != "100" or number == 1


def test_the_table_is_what_was_read() -> None:
    both, plain = readings("dead-band"), readings("figure-5")
    assert {key for key in both if not key[1]} == set(plain)
    table = rows("segments read")
    shown = 0
    for segments_text, samples, *cells, plateau in table:
        segments = int(segments_text.replace(",", ""))
        for cell, key in zip(cells, ((0, False), (1, False), (0, True), (1, True)), strict=True):
            record = both.get((*key, segments))
            if record is None:
                assert cell == "not read"
                continue
            shown += 1
            assert record.point.samples == int(samples)
            check_cell(cell, record)
            if not key[1]:
                assert plain[*key, segments].correct == record.correct
        # Both facts before the last segment and the same place in the middle: guessed, half right.
        without = 1 - ((segments - 1) / segments) ** 2 / 8
        assert plateau == ("100 %" if segments == 1 else f"{100 * without:.1f} %")
        for seed in (0, 1):
            one = both[seed, False, segments]
            if 2 <= segments <= 32:
                assert one.low > without
            assert (one.accuracy > without) == (2 <= segments <= 64) or segments == 1
            held = both.get((seed, True, segments))
            assert held is None or segments == 1 or held.accuracy > without
    assert shown == len(both) == 39


def test_what_the_contrasts_are() -> None:
    found = EvaluationStore(FOLDER / "contrasts.jsonl").read().latest().values()
    assert all(one.point.task_options == {"contrast": True} for one in found)
    right = {(one.trained_seed, one.point.segments): one.correct for one in found}
    assert right == {
        (0, 2): 500,
        (0, 8): 500,
        (0, 64): 497,
        (1, 2): 500,
        (1, 8): 500,
        (1, 64): 481,
    }
    text = " ".join(PAGE.split())
    assert "500, 500 and 497 of 500 are right at 2, 8 and 64 segments (seed 0)" in text
    assert "500, 500 and 481 (seed 1)" in text
    weights = {one.point.weights for one in found}
    assert weights == {one.point.weights for one in readings("figure-5").values()}


def test_how_the_widths_were_chosen() -> None:
    read = readings("dead-band")
    widths = WidthStore(REPORTS / "dead-band" / WIDTHS_FILE).read().latest().values()
    found = {one.point.weights: one.changes for one in widths if one.changes is not None}
    settled, fact = [], []
    for seed in (0, 1):
        one = read[seed, True, 4096]
        changes = found[one.point.weights]
        assert changes.dead_band == one.point.dead_band
        settled.append(changes.settled.quantiles[AT_99_9])
        fact.append(changes.fact.quantiles[MEDIAN])
    assert all(noise < median for noise, median in zip(settled, fact, strict=True))
    text = " ".join(PAGE.split())
    assert "by {:.2f} and {:.2f} at the 99.9th percentile".format(*settled) in text
    assert "by {:.2f} and {:.2f} in the median".format(*fact) in text


@pytest.mark.parametrize("seed", [0, 1])
def test_what_was_trained(seed: int) -> None:
    """Steps, seconds and validations of the table, from every interval of the trainings."""
    (cells,) = (one for one in rows("seed") if one[0] == str(seed))
    last = {phase: metrics(f"{phase}-{seed}")[-1]["step"] for phase in PHASES}
    assert [int(cell.replace(",", "")) for cell in cells[1:4]] == list(last.values())
    intervals = metrics(f"long-{seed}")
    until = {(one["stage_name"].partition("burn-in ")[2] or "0"): one["step"] for one in intervals}
    ends = list(until.values())
    assert list(until) == ["0", "64", "256", "1024"]
    parts = [after - before for before, after in zip([0, *ends], ends, strict=False)]
    assert cells[4] == ", ".join(map(str, parts))
    assert cells[5] == f"{sum(one['seconds'] for one in intervals):.0f} s"
    validated = [one["validation"] for one in intervals if one["validation"]]
    long = [f"{100 * one['192']:.1f}" for one in validated if "192" in one]
    assert cells[6] == f"{', '.join(long)} %"
    peak = max(one["peak_allocated_bytes"] for one in intervals)
    assert f"{peak / 2**30:.1f} GiB" in PAGE
    start = sum(one["seconds"] for one in metrics(f"start-{seed}"))
    assert f"{start:.0f}" == {0: "32", 1: "36"}[seed]
    assert "after 32 and 36 s of training" in PAGE
    four = [
        one["validation"]["4"]
        for one in metrics(f"short-{seed}")
        if "4" in (one["validation"] or {})
    ]
    assert f"{100 * four[-1]:.1f} % (seed {seed})" in PAGE


def test_how_the_plateau_was_left() -> None:
    table = rows("start")
    assert len(table) == len(STARTS)
    for (_, first, trained, validated), training in zip(table, STARTS, strict=True):
        intervals = metrics(training)
        one_segment = [one["step"] for one in intervals if one["stage"] == FIRST_STAGE]
        assert first == str(one_segment[-1])
        two = [one for one in intervals if one["stage"] == SECOND_STAGE]
        above = next(one["step"] for one in two if one["current_stage_accuracy"] >= 0.8)
        assert trained == f"step {above}"
        assert above - one_segment[-1] <= 175
        shown = [(one["step"], one["validation"]["2"]) for one in two if one["validation"]]
        reached = [step for step, accuracy in shown if accuracy >= 0.95]
        if reached:
            assert validated == f"step {reached[0]}"
            assert 375 <= reached[0] - one_segment[-1] <= 500
        else:
            step, accuracy = shown[-1]
            assert validated == f"not by step {step}, {100 * accuracy:.1f} % there"
    # Of contrasts without directions half are right, of other stories seven eighths.
    assert f"The plateau is at {75 * 0.5 + 25 * 0.875:.1f} % of these batches" in PAGE


@pytest.mark.parametrize("phase", PHASES)
def test_the_recipes_are_what_was_run(phase: str) -> None:
    """But for the folders, and the steps, which a rule or time cut short on each seed otherwise."""
    ran = settings_that_ran(FOLDER)
    for seed in (0, 1):
        one = ran[f"{phase}-{seed}"]
        made = recipes()[f"pretrained-encoder-all-weights-{PHASES[phase]}-{seed}"]
        recipe = json.loads(made.to_json())
        differ = {key for key in recipe if recipe[key] != one[key]}
        assert differ - {"steps", "init_from"} == {"backbone", "background"}
        before = {"start": None, "short": f"start-{seed}/best", "long": f"short-{seed}/best"}
        assert one["init_from"] == before[phase]
        assert made.steps == max(metrics(f"{phase}-{each}")[-1]["step"] for each in (0, 1))
        other = ran.get(f"{phase}-{seed}-no-dropout", one)
        assert {key for key in one if one[key] != other[key]} <= {"backbone"}


def test_the_table_of_the_plateau_has_these_two() -> None:
    plain = readings("figure-5")
    page = (TRIED / "README.md").read_text(encoding="utf-8")
    for seed in (0, 1):
        (line,) = (
            one
            for one in page.splitlines()
            if one.startswith(f"| all weights, taught, seed {seed}")
        )
        cells = [cell.strip() for cell in line.split("|")[2:-1]]
        lengths = (1, 2, 4, 8, 16, 32, 64, 4096)
        for cell, segments in zip(cells, lengths, strict=True):
            number = float(cell.replace("%", "").replace("(400)", ""))
            assert number == pytest.approx(100 * plain[seed, False, segments].accuracy)
