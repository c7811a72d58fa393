"""Names of trainings, and kinds and ways of backbones that Figure 5 keeps apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from rmtscale.study.figures.figure import Sources
from rmtscale.study.figures.figure_5 import claims as experiment
from rmtscale.study.figures.figure_5 import page
from rmtscale.study.figures.figure_5.drawing import draw
from rmtscale.study.figures.memory_tasks.axes import TITLES
from rmtscale.study.figures.memory_tasks.backbones import described, run_names
from rmtscale.study.figures.registry import FIGURES
from tests.command_line import Command
from tests.synthetic.evaluations import DECODER, ENCODER, curve
from tests.synthetic.retention import decoders, encoders

pytestmark = pytest.mark.usefixtures("unpainted")


def test_two_kinds_of_backbone_are_kept_apart(rmtscale: Command, tmp_path: Path) -> None:
    """Each has its claims, its tables and its panels, whatever the order of the records."""
    path = tmp_path / "records.jsonl"
    ours = [*encoders(0.8), *decoders(trained_backbone=DECODER)]
    whole = replace(ENCODER, lora_rank=None)
    ours += curve(
        [1, 8], 0.7, trained_backbone=whole, segment_tokens=499, weights="a whole encoder"
    )
    path.write_text("".join(one.to_line() + "\n" for one in ours))
    out = tmp_path / "out"
    done = rmtscale("reproduce", "figure-5", "--records", str(path), "--out", str(out))
    assert done.code == 1
    text = (out / "README.md").read_text()
    above, below = text.split("## Pretrained encoder, the paper's own setting")
    assert "| Memorize, seed 0: learned | above chance | 100.00 % " in above
    assert "80.00 %" not in above.split("| claim |")[1]
    assert (
        "* minilm, frozen, with LoRA of rank 16: Memorize, seeds 0, 1, 2; Detect & Memorize, seeds "
        "0, 1, 2; Reasoning, seeds 0, 1, 2. * minilm, all weights trained: Memorize, seed 0. Of "
        "the 512 positions of a segment 499 are text, 10 are memory and 3 special."
    ) in " ".join(below.split())
    assert "100.00 %" not in below.split("### Memorize")[1]
    assert "| segments | tokens | seed 0 | seed 0, all weights | seed 1 | seed 2 |" in below
    assert "| 8 | 3,992 | 80.00 %" in below
    header, *lines = (out / "figure-5.csv").read_text().splitlines()
    assert "seed,backbone,pretrained,lora_rank," in header
    assert sum(",minilm,1,16," in line for line in lines) == len(encoders())
    assert sum(",gpt-neox-small,0,," in line for line in lines) == len(decoders())


def test_two_trainings_of_one_seed_are_two_curves() -> None:
    other = replace(ENCODER, name="another")
    found = [
        *curve([1, 2], 1.0, trained_backbone=ENCODER, weights="a"),
        *curve([1, 2, 4], 0.5, trained_backbone=other, weights="b"),
        *curve([1], 0.7, trained_backbone=other, weights="c", trained_seed=1),
    ]
    ours = experiment.by_task(found)["memorize"]
    assert {name: len(own) for name, own in ours.items()} == {
        "seed 0": 3,
        "seed 0, minilm": 2,
        "seed 1": 1,
    }, "most are on the other backbone, which needs no name"
    level = experiment.by_task(found[:-1])
    assert list(level["memorize"]) == ["seed 0, another", "seed 0, minilm"]


def test_trainings_of_one_seed_are_counted_as_they_were_evaluated() -> None:
    """Neither the order of the records nor how their weights sort tells which came first."""
    days = {"c": "24", "a": "25", "b": "30"}
    found = [
        one
        for weights, day in days.items()
        for length, hour in ((4, "01"), (8, "02"))
        for one in curve(
            [length],
            1.0,
            trained_backbone=DECODER,
            weights=weights,
            evaluated_at=f"2026-11-{day}T{hour}:00:00+00:00",
        )
    ]
    expected = {"c": "seed 0", "a": "seed 0, training 2", "b": "seed 0, training 3"}
    for given in (found, found[::-1]):
        assert run_names(given) == expected
    assert list(experiment.by_task(found)["memorize"]) == [expected[weights] for weights in days]
    assert run_names(one for one in found if one.point.weights == "b") == {"b": "seed 0"}
    other = curve([4], 1.0, trained_backbone=replace(DECODER, name="wide"), weights="d")
    assert run_names([*found, *other]) == {**expected, "d": "seed 0, wide"}


def test_a_page_says_which_trainings_are_on_which_backbone() -> None:
    """One way needs no list; several have one, the way of the most trainings first."""
    other = replace(ENCODER, name="another", lora_rank=None)
    wider = replace(ENCODER, name="wider", segment_size=1024)
    one = curve([1, 2], 1.0, trained_backbone=other, segment_tokens=499, weights="a")
    more = [
        record
        for seed in (1, 0)
        for record in curve(
            [1, 2], 1.0, trained_backbone=ENCODER, segment_tokens=499, weights=f"{seed}",
            trained_seed=seed,
        )
    ]  # fmt: skip
    parts = "Of the 512 positions of a segment 499 are text, 10 are memory and 3 special."
    assert (
        " ".join(described(one, "More.").split()) == f"another, all weights trained. {parts} More."
    )
    listed = (
        "* minilm, frozen, with LoRA of rank 16: Memorize, seeds 0, 1.\n"
        "* another, all weights trained: Memorize, seed 0.\n\n"
    )
    assert described([*one, *more], "More.") == f"{listed}{parts} More."
    third = curve([1], 1.0, trained_backbone=wider, segment_tokens=1011, weights="w")
    assert described([*one, *more, *third]) == (
        f"{listed}{parts}\n\n* wider, frozen, with LoRA of rank 16: Memorize, seed 0.\n\n"
        "Of the 1024 positions of a segment 1,011 are text, 10 are memory and 3 special."
    )


def test_lora_and_all_weights_have_a_column_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """First lines are of both; two trainings of one seed differ in style."""
    whole = replace(ENCODER, lora_rank=None)
    rounded = replace(whole, name="rounded")
    lengths = [1, 2, 4096]
    found = [
        *curve(lengths, 0.5, trained_backbone=ENCODER, weights="a"),
        *curve(lengths[:2], 0.5, trained_backbone=ENCODER, weights="r", task="reasoning"),
        *curve(lengths[:2], 0.995, samples=200, trained_backbone=rounded, weights="c"),
        *curve(lengths, 1.0, trained_backbone=whole, weights="b"),
        *curve(lengths, 1.0, trained_backbone=whole, weights="d", trained_seed=1),
    ]
    monkeypatch.setattr(page, "collect", lambda *_: (None, found))
    drawing = mock.Mock(wraps=draw)
    monkeypatch.setattr(page, "draw", drawing)
    made = page.make(FIGURES["figure-5"], Sources(records=Path("any")))
    figure = draw(*drawing.call_args.args)
    assert [axes.get_title(loc="left").split("\n") for axes in figure.axes] == [
        ["Memorize", "pretrained encoder, LoRA"],
        ["Memorize", "pretrained encoder, all weights"],
        ["Reasoning", "pretrained encoder, LoRA"],
        ["peak memory, measured", "pretrained encoder, LoRA"],
        ["peak memory, measured", "pretrained encoder, all weights"],
    ]
    assert " ".join(figure.get_suptitle().split()) == (
        "Right answers at 2.06M tokens, worst to best: Memorize 50 to 100 % (paper 90.6 %), "
        "Reasoning 50 % (paper 100 %) after 1.01k"
    )
    text = made.page.replace("\N{NO-BREAK SPACE}", " ")
    assert "| Pretrained encoder, LoRA | 50 % (1 seed) | 50 % after 1.01k (1 seed) |" in text
    assert (
        "| Pretrained encoder, all weights | 100 % (2 seeds); 99.5 % after 1.01k (1 seed) |  |"
    ) in text
    assert "| The paper | 90.6 % | 81.9 % |" in text
    styles = [
        {
            str(line.get_label()): line.get_linestyle()
            for line in axes.lines
            if str(line.get_label()).startswith("seed")
        }
        for axes in figure.axes[:2]
    ]
    assert styles == [{"seed 0": "-"}, {"seed 0": "-", "seed 0, rounded": ":", "seed 1": "-"}]
    peaks = figure.axes[4].lines[0].get_xydata()
    assert peaks is not None
    assert np.asarray(peaks)[:, 0].max() == 4096 * 504, "memory of the training that goes farthest"


def test_each_kind_of_backbone_has_a_column() -> None:
    lengths = [one for one in encoders() if one.point.task != "reasoning"]
    lengths += [one for one in encoders(0.5) if one.point.segments <= 64]
    groups = [
        experiment.group_of(kind, experiment.by_task(records))
        for kind, records in (
            ("decoder from random initialisation", decoders(trained_backbone=DECODER)),
            ("pretrained encoder", lengths),
        )
    ]
    figure = draw(groups, {})
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"{title}\n{kind}"
        for title in (*TITLES.values(), "peak memory, measured")
        for kind in ("decoder from random initialisation", "pretrained encoder, LoRA")
    ]
    named = {axes.get_title(loc="left") for axes in figure.axes if axes.get_ylabel()}
    assert named == {f"{title}\ndecoder from random initialisation" for title in TITLES.values()}
    alone = draw(groups[:1], {})
    assert [axes.get_title(loc="left") for axes in alone.axes] == [
        *TITLES.values(),
        "peak memory, measured",
    ]
    assert alone.get_suptitle().count("paper") == 0, "at toy size there are no points of it"


def test_where_the_first_column_lacks_a_task_the_next_one_names_the_axis() -> None:
    every = experiment.by_task(decoders())
    other = {task: own for task, own in every.items() if task != "memorize"}
    figure = draw(
        [experiment.group_of(kind, own) for kind, own in (("a", other), ("b", every))], {}
    )
    named = {axes.get_title(loc="left") for axes in figure.axes if axes.get_ylabel()}
    assert named == {"Memorize\nb", "Detect & Memorize\na", "Reasoning\na"}
