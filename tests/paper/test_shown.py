"""Which recipe a picture draws, and that the pages of Figure 5 and the dead band hide none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
from matplotlib.figure import Figure as Drawing

from rmtscale.study.figures.dead_band.comparisons import compare, groups_of
from rmtscale.study.figures.dead_band.drawing import draw as draw_dead_band
from rmtscale.study.figures.figure import REPORTS
from rmtscale.study.figures.figure_5 import claims as figure_5
from rmtscale.study.figures.figure_5.drawing import draw as draw_figure_5
from rmtscale.study.figures.memory_tasks.axes import TITLES
from rmtscale.study.figures.memory_tasks.backbones import PRETRAINED_ENCODER, by_kind, capital
from rmtscale.study.figures.memory_tasks.claims import words
from rmtscale.study.figures.memory_tasks.shown import Group, Reading, most_read
from rmtscale.study.figures.memory_tasks.summary import headline, summary_table
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.widths import WIDTHS_FILE, ChosenWidths, WidthStore
from tests.synthetic.evaluations import DECODER, curve

pytestmark = pytest.mark.usefixtures("unpainted")


def read(seed: int, *lengths: int, accuracy: float = 0.5, plain: bool = False) -> Reading:
    found = {one.point.segments: one for one in curve(lengths, accuracy, trained_seed=seed)}
    return Reading(name=f"seed {seed}", curve=found, plain={} if plain else None)


class Case(NamedTuple):
    """Recipes of one task, and which of them is drawn."""

    recipes: Mapping[str, Sequence[Reading]]
    drawn: str


CASES = {
    "the most seeds at the longest input": Case(
        {
            "LoRA": [read(0, 8, 64), read(1, 8), read(2, 8)],
            "LoRA, told weight 1": [read(0, 8, 64), read(1, 64)],
        },
        "LoRA, told weight 1",
    ),
    "right answers do not count": Case(
        {
            "LoRA": [read(0, 64, accuracy=0.1), read(1, 64, accuracy=0.1)],
            "LoRA, told weight 1": [read(0, 64, accuracy=1.0)],
        },
        "LoRA",
    ),
    "nor do trainings of one seed": Case(
        {"LoRA": [read(0, 64), read(0, 64), read(0, 64)], "b": [read(0, 64), read(1, 64)]}, "b"
    ),
    "of a tie the one with more seeds at all": Case(
        {"LoRA": [read(0, 64)], "b": [read(0, 64), read(1, 8)]}, "b"
    ),
    "of a tie in both the usual one": Case(
        {"b": [read(0, 64), read(1, 8)], "all weights": [read(1, 64), read(2, 8)]}, "all weights"
    ),
    "of two usual ones the first": Case(
        {"LoRA": [read(0, 64)], "all weights": [read(1, 64)]}, "LoRA"
    ),
    "of two others the first": Case({"b": [read(0, 64)], "a": [read(1, 64)]}, "b"),
    "the longest input of any of them": Case(
        {"LoRA": [read(0, 8), read(1, 8), read(2, 8)], "b": [read(0, 64)]}, "b"
    ),
    "where plain was not read it counts all the same": Case(
        {"LoRA": [read(0, 64)], "b": [read(0, 64, plain=True), read(1, 64, plain=True)]}, "b"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_drawn(name: str) -> None:
    recipes, drawn = CASES[name]
    assert most_read(recipes) == drawn


def test_names_are_short_where_the_recipe_is_named() -> None:
    (record,) = curve([8], 1.0, trained_backbone=DECODER)

    def short(name: str, recipe: str) -> str:
        return Reading(name=name, curve={8: record}).short_name(recipe)

    assert short("seed 0, told weight 1, training 2", "told weight 1") == "seed 0, training 2"
    assert short("seed 0, told weight 1", "") == "seed 0, told weight 1"
    assert short("seed 0", "LoRA") == "seed 0"


def test_first_lines_hide_no_worse_training() -> None:
    """One of which plain was not read counts too, at a length that is compared in others."""
    held = [read(0, 64, accuracy=0.9), read(1, 64, accuracy=0.5)]
    with_plain = replace(held[0], plain=read(0, 64, accuracy=0.3).curve)
    held = [with_plain, replace(held[1], plain={})]
    said = headline([Group(kind="", readings={"memorize": held})], "Right")
    assert said.replace("\N{NO-BREAK SPACE}", " ") == (
        "Right at 32.3k tokens, worst to best: Memorize 50 to 90 % (30 %, 1 of 2)"
    )


def committed(name: str) -> list[Group]:
    """What the page of a figure shows, and in the order of its parts."""
    store = EvaluationStore(REPORTS / name / "records.jsonl").read()
    records = list(store.latest().values())
    if name == "dead-band":
        widths = WidthStore(REPORTS / name / WIDTHS_FILE).read().latest().values()
        return groups_of(compare(records, ChosenWidths(list(widths))))
    return [
        figure_5.group_of(kind, figure_5.by_task(own)) for kind, own in by_kind(records).items()
    ]


def drawn(name: str) -> Drawing:
    groups = committed(name)
    if name == "dead-band":
        return draw_dead_band(groups)
    parts = [part for group in groups for part in group.parts()]
    return draw_figure_5(parts, figure_5.paper_curves())


PAGES = ("figure-5", "dead-band")


@pytest.mark.parametrize(("name", "panels"), [("figure-5", 4 * 3), ("dead-band", 2 * 3)])
def test_the_committed_pictures_are_small(name: str, panels: int) -> None:
    figure = drawn(name)
    assert len(figure.axes) <= panels
    assert figure.get_suptitle().count("\n") <= 1
    assert "worst to best" in figure.get_suptitle()


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_first_lines_are_two(name: str) -> None:
    """And begin with the worst, with the paper's number or plain's beside it."""
    page = (REPORTS / name / "README.md").read_text(encoding="utf-8")
    assert [part for part in page.split("\n\n") if part.startswith("**")] == [page.split("\n\n")[1]]
    lines = page.split("\n\n")[1].splitlines()
    assert len(lines) <= 2
    said = " ".join(lines)
    ends = re.findall(r"Reasoning ([\d.]+)(?: to [\d.]+)? % \((?:paper )?([\d.]+)", said)
    (ours, beside) = ends[0]
    worst = [
        one.curve[4096]
        for group in committed(name)
        for one in group.readings["reasoning"]
        if 4096 in one.curve
    ]
    assert float(ours) == round(100 * min(one.accuracy for one in worst), 1)
    assert beside == ("81.9" if name == "figure-5" else "53.5")


def tables(page: str) -> dict[tuple[str, ...], tuple[list[str], list[list[str]]]]:
    """Columns and rows of the tables of accuracy, by the headings that they stand under."""
    found: dict[tuple[str, ...], tuple[list[str], list[list[str]]]] = {}
    headings: list[tuple[int, str]] = []
    for part in page.split("\n\n"):
        if part.startswith("#"):
            marks, _, title = part.partition(" ")
            headings = [one for one in headings if one[0] < len(marks)] + [(len(marks), title)]
        if part.startswith("| segments | tokens |"):
            columns, _, *rows = (
                [cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()
            )
            found[tuple(title for _, title in headings)] = columns, rows
    return found


@pytest.mark.parametrize("name", PAGES)
def test_every_training_stands_in_a_table(name: str) -> None:
    """Below the name of its task and, there or in its column, that of its recipe, cell for cell."""
    there = tables((REPORTS / name / "README.md").read_text(encoding="utf-8"))
    assert all(len(columns) <= 8 for columns, _ in there.values())
    left = {
        (*headings, column[0]): [cell for cell in column[1:] if cell]
        for headings, (columns, rows) in there.items()
        for column in zip(*[columns, *rows], strict=True)
        if column[0] not in ("segments", "tokens")
    }
    looked_for = [
        (group.kind, task, recipe, one, how, read_so)
        for group in committed(name)
        for task in group.readings
        for recipe, own in group.recipes(task).items()
        for one in own
        for how, read_so in ((one.how, one.curve), ("plain", one.plain))
        if read_so
    ]
    for kind, task, recipe, one, how, read_so in looked_for:
        (place,) = (at for at in left if is_of(at, kind, TITLES[task], recipe, one, how))
        assert left.pop(place) == [words(each) for each in read_so.values()]
    assert left == {}


def is_of(
    place: tuple[str, ...], kind: str, title: str, recipe: str, one: Reading, how: str
) -> bool:
    """Whether a column stands where a training is looked for."""
    _, *headings, column = place
    pretrained = headings[0].startswith("Pretrained encoder")
    below = headings[1:] if pretrained else headings
    if pretrained != (kind == PRETRAINED_ENCODER) or below[0] != title:
        return False
    if len(below) == 1:
        return column == ", ".join(filter(None, (one.name, how)))
    named = capital(recipe) or "The usual recipe"
    later = "" in one.claimed or below[1] == f"{named}, trained on"
    short = ", ".join(filter(None, (one.short_name(recipe), how)))
    return below[1] in (named, f"{named}, trained on") and later and column == short


@pytest.mark.parametrize("name", PAGES)
def test_every_recipe_has_a_row_and_what_is_drawn_is_bold(name: str) -> None:
    page = (REPORTS / name / "README.md").read_text(encoding="utf-8")
    groups = committed(name)
    parts = groups if name == "dead-band" else [part for one in groups for part in one.parts()]
    summary = summary_table(parts, figure_5.paper_curves() if name == "figure-5" else None)
    assert page.split("\n\n")[2] == summary
    rows = summary.splitlines()
    for group in groups:
        for task in group.readings:
            for recipe in group.recipes(task):
                label = capital(", ".join(filter(None, (group.kind, recipe))))
                (row,) = (row for row in rows if row.startswith(f"| {label} |"))
                assert row.split("|")[2 + list(TITLES).index(task)].strip()
    panels = [axes.get_title(loc="left") for axes in drawn(name).axes]
    assert summary.count("**") == 2 * sum(not title.startswith("peak") for title in panels)


def test_the_summary_counts_every_training_once() -> None:
    """Each at the longest input that it was read at: as many seeds and trainings as there are."""
    for group in committed("figure-5"):
        for part in group.parts():
            table = summary_table([part])
            trainings = sum("" in one.claimed for own in part.readings.values() for one in own)
            counted = 0
            for seeds, more in re.findall(r"\((\d+) seeds?(?:, (\d+) trainings)?\)", table):
                counted += int(more or seeds)
            assert counted == trainings
