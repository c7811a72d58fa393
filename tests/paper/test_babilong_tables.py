"""BABILong's tables: the best runs beside the published ones, every run listed, rows that fit."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rmtscale.report.claims import Claim
from rmtscale.study.figures.babilong.claims import check_claims
from rmtscale.study.figures.babilong.drawing import draw
from rmtscale.study.figures.babilong.full_attention import full_attention_seconds
from rmtscale.study.figures.babilong.published import published
from rmtscale.study.figures.babilong.runs import DEAD_BAND, PLAIN, Run, runs_of, shown
from rmtscale.study.figures.babilong.runs_page import runs_page
from rmtscale.study.figures.babilong.standing import answer, averages_in_words, side_of, standing
from rmtscale.study.figures.babilong.tables import (
    average_table,
    beside_full_attention,
    cost_table,
    models_table,
    names_of_ours,
    samples_in_words,
    task_table,
)
from rmtscale.study.figures.babilong.where_lost import breakdowns_of, sum_of, where_lost
from rmtscale.study.records.babilong import BabilongRecord
from rmtscale.study.records.breakdown import Breakdown, Counted
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.lengths import LENGTHS, samples_of
from tests.committed import babilong_records
from tests.synthetic.babilong import babilong, every, rows


def cells_of(table: str) -> dict[str, list[str]]:
    """Cells by the first of each row, the headings among them."""
    lines = [line for line in table.splitlines() if not line.startswith("|---")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in split}


def test_a_task_has_the_best_run_of_each_variant_beside_the_published_ones() -> None:
    plain = [*rows("qa2", 0.6, seed=0), *rows("qa2", 0.7, seed=1)]
    held = [*rows("qa2", 0.9, ("128k",), dead_band=0.3), *rows("qa2", 0.8, dead_band=0.25)]
    cells = cells_of(task_table("qa2", runs_of([*plain, *held, *rows("qa1", 1.0)])))
    assert cells["qa2, %"] == [
        *("RMT", "ARMT", "Mamba", "Gemini", "Llama-3", "ours", "95 %", "band", "95 %")
    ]
    assert list(cells)[1:] == list(LENGTHS)
    published_whole = ["39", "100", "87", "42", "6"]
    assert cells["128k"] == [*published_whole, "70", "60.4 to 78.1", "80", "71.1 to 86.7"]
    # A thousand samples tell a tenth of a percent.
    assert cells["4k"][5:7] == ["70.0", "67.1 to 72.8"]
    words = names_of_ours("qa2", runs_of([*plain, *held]))
    assert re.search(r"^Ours: [^.]*seed 1, [^.]*\. Samples: 1,000 [^.]*\. Band: ", words)
    assert re.search(r"dead band 0\.25 \(borrowed\)\. Samples: 1,000 [^.]*\. ", words)
    assert words.endswith("[All 4 runs of qa2](runs.md#qa2).")
    assert names_of_ours("qa3", []).startswith("Ours: no run yet. Band: no run yet. [All 0 runs")
    assert cells_of(task_table("qa3", []))["10M"] == ["21", "37", "", "", "11", "", "", "", ""]


def test_rows_fit_in_a_terminal() -> None:
    records = [*every(0.887), *every(0.9, dead_band=0.3), *babilong_records().records]
    runs = runs_of(records)
    for task in QAS:
        assert max(map(len, task_table(task, runs).splitlines())) <= 82
    assert max(map(len, average_table(runs).splitlines())) <= 80


def assert_listed(records: list[BabilongRecord]) -> str:
    """Every run has its line, every record a row with its numbers."""
    runs = runs_of(records)
    page = runs_page("BABILong", runs)
    for run in runs:
        lines = [line for line in page.splitlines() if line.startswith(f"* {run.task}-")]
        (line,) = [line for line in lines if f": {run.title}; " in line]
        name = line.removeprefix("* ").split(":")[0].removesuffix("\\*")
        (row,) = re.findall(rf"^\| {name} \|((?:[^|]*\|){{12}})$", page, re.M)
        for cell, length in zip(row.split("|"), LENGTHS, strict=False):
            assert (cell.strip() == "") == (length not in run.curve)
            if length in run.curve:
                assert float(cell) == pytest.approx(100 * run.shares[length], abs=0.051)
        best = shown(runs, run.variant).get(run.task)
        assert ("\\*" in line) == (run is best)
        assert run.records[0].point.weights in line
    points = page.split("## Every point")[1]
    assert points.count("\n| qa") == len(records)
    assert sum(len(run.records) for run in runs) == len(records)
    return page


def test_nothing_is_hidden() -> None:
    many = [
        *every(0.9),
        *every(0.8, seed=1),
        *rows("qa4", 0.7, ("0k", "64k"), backbone="minilm-q"),
        *rows(
            *("qa4", 0.7, ("0k", "64k")),
            closing_questions=12,
            memory_noise=0.3,
            late_facts=3,
            burn_in_dead_band=0.6,
            lora_rank=16,
            training_seconds=99.0,
        ),
        *every(0.95, ("10M",), dead_band=0.4),
    ]
    page = assert_listed(many)
    assert "99.0 s of steps" in page
    changed = "up to 3 late facts, burn-ins with a dead band of 0.6, noise 0.3 on the memory"
    assert f"seed 0, LoRA 16, 12 closing questions, {changed}" in page
    for task in QAS:
        assert f"\n## {task}\n" in page
    assert_listed(list(babilong_records().latest().values()))
    empty = runs_page("BABILong", [])
    assert empty.count("No run yet.") == 5


def test_a_few_samples_that_are_timed_take_no_others_place() -> None:
    long = rows("qa1", 0.9, ("1M", "10M"))
    few = babilong("qa1", "10M", 1.0, samples=2, batch_size=1, seconds_per_sample=17.0)
    for records in ([*long, few], [few, *long]):
        (run,) = runs_of(records)
        assert run.shares == {"1M": 0.9, "10M": 0.9}
        assert run.others == (few,)
        assert run.alone("10M") == few
        assert run.alone("1M") is None
    again = babilong("qa1", "10M", 0.8)
    assert runs_of([*long, again])[0].shares["10M"] == 0.8  # of as many samples the later
    assert_listed([*long, few, again])


def test_a_length_of_few_samples_stays_off_a_curve_that_has_others() -> None:
    long, few = rows("qa1", 0.9, ("512k", "1M")), babilong("qa1", "10M", 1.0, samples=99)
    (run,) = runs_of([*long, few])
    assert run.shares == {"512k": 0.9, "1M": 0.9}
    assert run.others == (few,)
    assert_listed([*long, few])
    enough = babilong("qa1", "10M", 0.2, samples=100)
    assert "10M" in runs_of([*long, enough])[0].shares
    # Nothing but few is drawn as it is.
    assert runs_of([few])[0].shares == {"10M": 1.0}


def test_of_several_readings_the_one_of_most_samples_stands() -> None:
    """Of the same weights, length and width, in any order: in tables, averages, claims, the picture
    and where it is lost. What is smaller is listed with all points, and counts nowhere."""
    few = [noted(one, 1) for one in apart(0.5, dead_band=0.3)]
    larger = ("128k", "1M")
    asked: dict[str, Any] = {
        "dead_band": 0.3,
        "samples": 400,
        "evaluated_at": "2024-01-01T00:00:00+00:00",
    }
    more = [noted(one, 2) for one in apart(0.99, lengths=larger, **asked)]
    for records in ([*few, *more], [*more, *few]):
        runs = runs_of(records)
        assert len(runs) == len(QAS)
        best = shown(runs, DEAD_BAND)
        for run in runs:
            assert {length: one.point.samples for length, one in run.curve.items()} == {
                length: 400 if length in larger else samples_of(length) for length in LENGTHS
            }
            assert [one.point.samples for one in run.others] == [100, 100]
            # A story counts once at each length: of these, 400 at two, not 100 more.
            assert sum_of(breakdowns_of(run)).depth.samples[0] == 9 * 1 + 2 * 2
        cells = cells_of(task_table("qa2", runs))
        assert cells["128k"][-2:] == ["99.0", "97.5 to 99.6"]
        assert cells["64k"][-2:] == ["50", "40.4 to 59.6"]
        assert cells_of(average_table(runs))["1M"][-1] == "99.0"
        # As if the smaller ones were not there, but that their peaks of memory were measured too.
        alone = runs_of([*(one for one in few if one.point.length not in larger), *more])
        assert claims_but_memory(runs) == claims_but_memory(alone)
        assert standing(best, "armt") == standing(shown(alone, DEAD_BAND), "armt")
        assert where_lost(runs) == where_lost(alone)
        heights = [np.asarray(line.get_ydata()).tolist() for line in draw(runs).axes[0].get_lines()]
        assert [50.0] * 8 + [99.0, 50.0, 99.0, 50.0] in heights
        counts = "1,000 from 0k to 32k, 100 at 64k, 400 at 128k, 100 at 512k, 400 at 1M, 100 at 10M"
        assert samples_in_words([best["qa2"]]) == counts
        assert f"(borrowed). Samples: {counts}. [1 run of qa2]" in names_of_ours("qa2", runs)
        assert_listed(records)


def claims_but_memory(runs: list[Run]) -> list[Claim]:
    return [claim for claim in check_claims(runs) if not claim.text.startswith("peak memory")]


def noted(record: BabilongRecord, samples: int) -> BabilongRecord:
    """A record that has counted so many samples, all near the end."""
    counted = Counted(samples=(samples, *[0] * 9), correct=(samples, *[0] * 9))
    one = Counted(samples=(samples,), correct=(samples,))
    return replace(
        record,
        breakdown=Breakdown(
            depth=counted,
            facts_after=one,
            segments_after=one,
            segments_after_facts=one,
            segments_spanned=one,
        ),
    )


def test_where_shown_runs_have_unequal_numbers_all_are_said() -> None:
    runs = runs_of([*rows("qa1", 0.9), *rows("qa2", 0.9, ("64k", "1M"), samples=400)])
    counts = "1,000 from 0k to 32k, 100 or 400 at 64k, 100 from 128k to 512k, 100 or 400 at 1M"
    assert samples_in_words(runs) == f"{counts}, 100 at 10M"
    assert samples_in_words([]) == ""


def test_counts_of_points_are_those_of_a_loop() -> None:
    records = [*rows("qa1", 0.95), *rows("qa2", 0.5), *rows("qa3", 0.9, ("0k", "1M"))]
    best = shown(runs_of(records), PLAIN)
    for system in published():
        counts = {"ahead": 0, "level": 0, "behind": 0, "missing": 0}
        for task, theirs in published()[system].items():
            for length, share in theirs.items():
                own = [r for r in records if (r.point.stories, r.point.length) == (task, length)]
                side = "missing"
                for one in own:
                    side = "level"
                    if one.low > share + 0.005:
                        side = "ahead"
                    elif one.high < share - 0.005:
                        side = "behind"
                counts[side] += 1
        found = standing(best, system)
        assert counts == {name: getattr(found, name) for name in counts}, system
        assert found.points == sum(counts.values())
        assert found.read == found.points - counts["missing"]
    assert standing(best, "rmt").points == standing(best, "armt").points == 60
    assert standing(shown([], DEAD_BAND), "rmt").missing == 60


def test_the_answer_counts_and_averages() -> None:
    def said(records: list[BabilongRecord]) -> tuple[str, str]:
        runs = runs_of(records)
        best = {variant: shown(runs, variant) for variant in (PLAIN, DEAD_BAND)}
        return answer(best), averages_in_words(best)

    assert said([]) == ("No run at the lengths of the published RMT yet", "")
    counts, averages = said(every(1.0))
    whole = standing(shown(runs_of(every(1.0))), "rmt")
    assert counts == (
        f"Beside the published RMT, ours is ahead at {whole.ahead} of 60 points, level at "
        f"{whole.level} and behind at 0"
    )
    theirs = "the published RMT 34.0 %, the published ARMT 75.8 %"
    assert averages == f"At 10M the five tasks average 100.0 % right answers, {theirs}"
    few = [*every(0.5), *every(0.8, ("1M", "10M"), dead_band=0.3)]
    counts, averages = said(few)
    # Of 84, 22, 22, 24, 63 at 1M and 66, 19, 21, 20, 44 at 10M, 71.1 to 86.7 holds the first.
    assert counts.endswith(" with a dead band on the memory ahead at 9, level at 1 and behind at 0")
    assert averages == (
        f"At 10M the five tasks average 50.0 % right answers (80.0 % with the band), {theirs}"
    )
    assert said(rows("qa1", 0.9))[1] == ""


def test_level_is_where_the_interval_holds_it() -> None:
    record = babilong("qa1", "1M", 0.9)
    least, most = record.low - 0.005, record.high + 0.005
    assert side_of(record, least + 1e-9) == side_of(record, most - 1e-9) == "level"
    assert side_of(record, most + 1e-9) == "behind"
    assert side_of(record, least - 1e-9) == "ahead"


def apart(accuracy: float, **values: Any) -> list[BabilongRecord]:
    """A training for each task, equally right everywhere."""
    found = []
    for record in every(accuracy, **values):
        assert record.training is not None
        own = record.point.stories
        found.append(
            replace(
                record,
                point=replace(record.point, weights=f"{own}{record.point.weights}"[:16]),
                training=replace(record.training, stories=own),
            )
        )
    return found


def test_accuracies_of_each_model_stand_apart() -> None:
    decoder = apart(0.5)
    assert models_table(runs_of(decoder)) is None
    assert models_table(runs_of(decoder), "qa1") is None
    encoder = [*apart(0.25, backbone="minilm-q"), *rows("qa4", 0.1, backbone="smollm2")]
    held = [*apart(0.75, dead_band=0.3), *rows("qa5", 0.9, dead_band=0.3, backbone="smollm2")]
    runs = runs_of([*decoder, *encoder, *held])
    table = models_table(runs)
    assert table is not None
    # What lacks a task has no average.
    assert cells_of(table)["average, %"] == [
        *("ours: gpt-neox-small", "band: gpt-neox-small", "ours: minilm-q")
    ]
    assert cells_of(table)["1M"] == ["50.0", "75.0", "25.0"]
    assert cells_of(average_table(runs))["1M"][-2:] == ["50.0", "78.0"]
    for task, name, cell in (("qa4", "ours", "10.0"), ("qa5", "band", "90.0")):
        table = models_table(runs, task)
        assert table is not None
        assert cells_of(table)[f"{task}, %"][3:] == [f"{name}: smollm2, all five"]
        assert cells_of(table)["4k"] == ["50.0", "75.0", "25.0", cell]


def test_one_model_of_all_five_is_one_training() -> None:
    """Of two, the better on average stands in all rows, whatever one of its tasks is."""
    one = [*every(0.8), *apart(0.6)]
    other = [*rows("qa1", 1.0, seed=1), *(r for t in QAS[1:] for r in rows(t, 0.5, seed=1))]
    best = shown(runs_of([*one, *other]))
    assert [best[task].shares["1M"] for task in QAS] == [1.0, 0.8, 0.8, 0.8, 0.8]
    runs = runs_of([*one, *other])
    table = models_table(runs)
    assert table is not None
    heads = cells_of(table)["average, %"]
    assert heads == ["ours: gpt-neox-small", "ours: gpt-neox-small, all five"]
    assert cells_of(table)["1M"] == ["60.0", "80.0"]
    own = models_table(runs, "qa1")
    assert own is not None
    assert cells_of(own)["1M"] == ["60", "80"]
    # Fewer tasks are less of a model, however good.
    more = runs_of([*one, *rows("qa2", 1.0, seed=2)])
    assert shown(more, model="gpt-neox-small, all five")["qa2"].shares["1M"] == 0.8
    assert shown(more)["qa2"].shares["1M"] == 1.0


@pytest.mark.parametrize("length", ["4k", "10M"])
def test_what_one_sample_alone_takes(length: str) -> None:
    base = [*rows("qa2", 0.9), *rows("qa1", 0.9)]
    cells = cells_of(cost_table(shown(runs_of(base))))
    heads = cells["length"]
    assert cells[length][heads.index("one alone")] == ""
    few = babilong("qa1", length, 1.0, samples=2, batch_size=1, seconds_per_sample=17.0)
    cells = cells_of(cost_table(shown(runs_of([*base, few]))))
    assert cells[length][heads.index("one alone")] == "17.0 s"
    assert cells[length][heads.index("side by side")] == "100"
    assert cells["8k"][heads.index("one alone")] == ""


def test_one_sample_alone_beside_full_attention() -> None:
    base = [*rows("qa2", 0.9), *rows("qa1", 0.9)]
    assert beside_full_attention(shown(runs_of(base))) == ""

    def alone(length: str, share: float) -> BabilongRecord:
        """A sample that takes a share of what full attention takes at least."""
        full = full_attention_seconds(shown(runs_of(base))["qa1"].curve[length])
        assert full is not None
        return babilong(
            "qa1", length, 1.0, samples=2, batch_size=1, seconds_per_sample=share * full
        )

    read = [alone("4k", 50.0), alone("128k", 1.25), alone("1M", 0.5), alone("10M", 0.02)]
    assert beside_full_attention(shown(runs_of([*base, *read]))) == (
        "One sample alone: full attention may be faster at 4k, 128k; the RMT is faster at 1M, 10M, "
        "at 10M by a factor of 50 at least."
    )
    assert beside_full_attention(shown(runs_of([*base, *read[:2]]))) == (
        "One sample alone: full attention may be faster at 4k, 128k."
    )
    assert beside_full_attention(shown(runs_of([*base, read[3]]))) == (
        "One sample alone: the RMT is faster at 10M, at 10M by a factor of 50 at least."
    )
