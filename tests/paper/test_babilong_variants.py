"""BABILong with a dead band and without: two variants in one file, never mixed."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rmtscale.report.claims import Claim
from rmtscale.study.figures.babilong.claims import check_claims
from rmtscale.study.figures.babilong.drawing import draw
from rmtscale.study.figures.babilong.runs import (
    DEAD_BAND,
    PLAIN,
    SINK,
    VARIANTS,
    Run,
    models,
    runs_of,
    shown,
)
from rmtscale.study.figures.babilong.runs_page import runs_page
from rmtscale.study.figures.babilong.tables import average_table
from rmtscale.study.records.babilong import BabilongRecord
from rmtscale.study.records.widths import ChosenWidths
from rmtscale.study.tasks.lengths import LENGTHS
from rmtscale.study.training.memory_tasks.learned import learned
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from tests.command_line import Command
from tests.synthetic.babilong import babilong, every, rows
from tests.synthetic.widths import reading


def claims(records: list[BabilongRecord]) -> dict[str, Claim]:
    return {claim.text: claim for claim in check_claims(runs_of(records))}


def test_the_variants_are_held_apart() -> None:
    """Whatever one has, the other's claims, averages, rows and lines are what they were without."""
    plain = [*every(0.6, ("0k", "128k", "1M")), *rows("qa1", 0.7, seed=1)]
    held = [*every(1.0, dead_band=0.3), *rows("qa2", 0.9, ("0k",), seed=1, dead_band=0.25)]
    alone, other, both = claims(plain), claims(held), claims([*held, *plain])
    for text, claim in both.items():
        if "with a dead band" in text:
            assert claim == other[text]
        elif "qa" in text:
            assert claim == alone[text]
    target = "average of qa1 to qa5 at 1M{}: at least 94.00 %"
    assert both[target.format("")].ours == "62.00 %"
    assert both[target.format(" with a dead band")].ours == "100.00 %"
    assert other[target.format("")].ours == "no run yet: qa1, qa2, qa3, qa4, qa5"
    runs = runs_of([*plain, *held])
    for variant in VARIANTS:
        assert {run.variant for run in shown(runs, variant).values()} == {variant}
    heads, _, *table = (line.split(" | ") for line in average_table(runs).splitlines())
    assert heads[-2:] == ["ours", "band |"]
    assert [row[-2] for row in table] == [
        "62.0" if length in ("0k", "128k", "1M") else "" for length in LENGTHS
    ]
    assert [row[-1] for row in table] == ["100.0 |"] * len(LENGTHS)


def test_sinks_are_listed_and_stand_in_for_nothing() -> None:
    plain, sink = every(0.6), every(0.9, sink_tokens=1)
    both = runs_of([*plain, *sink, *every(1.0, sink_tokens=1, dead_band=0.3)])
    assert {run.variant for run in both} == {PLAIN, SINK}
    titles = {run.title for run in both if run.variant == SINK}
    assert all("8 memory tokens (1 sink)" in title for title in titles)
    for variant in VARIANTS:
        assert shown(both, variant) == shown(runs_of(plain), variant)
    assert models(both) == models(runs_of(plain))
    assert models(runs_of(sink)) == []
    alone, beside = claims(plain), claims([*plain, *sink])
    assert {text for text in alone if alone[text] != beside[text]} == {
        "peak memory of the GPU constant in the length, measured"  # of every run
    }


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((8, 8), None),
        ((8, 16), "16 memory tokens (8 before)"),
        ((8, 8, 16, 16), "16 memory tokens (8 before)"),
        ((4, 8), "8 memory tokens (4 before)"),
        ((16,), "16 memory tokens"),
        ((), None),
    ],
)
def test_a_memory_that_has_grown_stands_in_the_title(
    counts: tuple[int, ...], words: str | None
) -> None:
    """Also where the steps tell two runs apart; a note leaves out what is the default."""
    usual = MemoryTaskSettings(task="babilong")
    noted = tuple(learned(replace(usual, memory_tokens=count)) for count in counts)
    last = counts[-1] if counts else 16
    (record,) = rows("qa1", 0.9, ("0k",), memory_tokens=last)
    assert record.training is not None
    training = replace(record.training, trained_with=noted or None)
    (run,) = runs_of([replace(record, training=training)])
    named = [part for part in run.title.split(", ") if "memory tokens" in part]
    assert named == ([] if words is None else [words])
    assert f"{last} memory tokens" in runs_page("x", [run])


OTHER_POINTS: list[dict[str, object]] = [
    {"dead_band": 0.3},
    {"weights": "0" * 16},
    {"answers": "generate"},
    {"background": "python"},
    {"stories": "qa2"},
]


@pytest.mark.parametrize("other", OTHER_POINTS)
def test_a_curve_of_two_models_cannot_be_made(other: dict[str, object]) -> None:
    one, two = babilong("qa1", "0k", 1), babilong("qa1", "1k", 1)
    assert Run("alike", {"0k": one, "1k": two}).task == "qa1"
    changed = replace(two, point=replace(two.point, **other))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="curve of 2 models or variants: expected one"):
        Run("mixed", {"0k": one, "1k": changed})
    runs = runs_of([one, changed])
    assert sorted(len(run.curve) for run in runs) == [1, 1]
    assert len({(run.task, run.title) for run in runs}) == 2
    with pytest.raises(ValueError, match="curve of 0 models"):
        Run("empty", {})


def drawn_lines(records: list[BabilongRecord]) -> list[dict[str, list[list[float]]]]:
    """Heights of the lines of each panel by name, those of the published systems left out."""
    found = []
    for axes in draw(runs_of(records)).axes:
        own: dict[str, list[list[float]]] = {}
        for line in axes.get_lines():
            if str(line.get_label()).startswith("RMT, ours"):
                heights = np.round(np.asarray(line.get_ydata(), dtype=float), 6).tolist()
                own.setdefault(str(line.get_label()), []).append(heights)
        found.append(own)
    return found


def test_each_variant_has_a_line_of_its_own() -> None:
    plain, held = every(0.5, ("0k", "4k")), rows("qa1", 1.0, ("4k", "1M"), dead_band=0.3)
    encoder = rows("qa1", 0.25, ("0k", "4k"), backbone="minilm-q", stories="qa1")
    first, second, *_, average = drawn_lines([*plain, *held, *encoder])
    assert first == {
        "RMT, ours": [[50.0, 50.0]],
        "RMT, ours: minilm-q": [[25.0, 25.0]],
        "RMT, ours, with a dead band": [[100.0, 100.0]],
    }
    assert second == {"RMT, ours": [[50.0, 50.0]]}
    assert average == {"RMT, ours": [[50.0, 50.0]], "RMT, ours, with a dead band": [[]]}


def test_a_width_that_was_chosen_goes_before_a_borrowed_one() -> None:
    """Of the same weights, and where it has read as many lengths, whichever is better."""
    borrowed = rows("qa1", 0.9, dead_band=0.3)
    chosen = rows("qa1", 0.8, dead_band=0.4)
    weights = chosen[0].point.weights
    assert weights == borrowed[0].point.weights
    ways = ChosenWidths([reading(0, "00", weights=weights), reading(0.4, "11", weights=weights)])

    def band(records: list[BabilongRecord], widths: ChosenWidths = ways) -> tuple[float, str]:
        run = shown(runs_of(records, widths), DEAD_BAND)["qa1"]
        assert run.title.endswith(f"dead band {run.dead_band:g} ({run.width_chosen})")
        return run.dead_band, run.width_chosen

    assert band([*borrowed, *chosen]) == (0.4, "by accuracy")
    assert band([*borrowed, *chosen], ChosenWidths()) == (0.3, "borrowed")
    assert band([*borrowed, *chosen[1:]]) == (0.3, "borrowed"), "a length is missing"
    other = rows("qa1", 0.95, seed=1, dead_band=0.3)
    assert band([*other, *borrowed, *chosen]) == (0.3, "borrowed"), "other weights stay"
    plain = shown(runs_of(rows("qa1", 0.5), ways))["qa1"]
    assert (plain.width_chosen, "dead band" in plain.title) == ("", False)


def test_the_pages_say_how_a_width_was_chosen(
    rmtscale: Command, tmp_path: Path, unpainted: None
) -> None:
    del unpainted
    records = [*rows("qa1", 0.9, dead_band=0.3), *rows("qa2", 0.9, dead_band=0.3, seed=1)]
    (tmp_path / "records.jsonl").write_text("".join(f"{one.to_line()}\n" for one in records))
    weights = records[0].point.weights
    widths = [reading(0, "00", weights=weights), reading(0.3, "11", weights=weights)]
    lines = "".join(f"{one.to_line()}\n" for one in widths)
    (tmp_path / "widths.jsonl").write_text(lines)
    out = tmp_path / "out"
    rmtscale("reproduce", "babilong", "--records", str(tmp_path / "records.jsonl"), "-o", str(out))
    for page in ("README.md", "runs.md"):
        text = " ".join((out / page).read_text().split())
        assert text.count("dead band 0.3 (by accuracy)") == 1, page
        assert text.count("dead band 0.3 (borrowed)") == 1, page
    assert (out / "widths.jsonl").read_text() == lines
    with (out / "babilong.csv").open() as opened:
        found = {(row["task"], row["dead_band_chosen"]) for row in csv.DictReader(opened)}
    assert found == {("qa1", "by accuracy"), ("qa2", "borrowed")}


def test_a_decoder_that_reads_everything_is_not_ours() -> None:
    other = rows("qa1", 1.0, training=None, model="decoder", weights="f" * 16)
    assert shown(runs_of(other)) == {}
    assert shown(runs_of([*other, *rows("qa1", 0.5)]))["qa1"].shares["1M"] == 0.5
