"""Reasoning on the pretrained encoder, gone on with: its page says what was measured."""

from __future__ import annotations

import json
import re
from typing import Any

from rmtscale.intervals import newcombe_interval
from rmtscale.study.figures.figure import REPORTS
from rmtscale.study.records.evaluation import EvaluationRecord, EvaluationStore

FOLDER = REPORTS / "figure-5" / "tried" / "pretrained-encoder" / "told-after-burn-in"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
ARMS = ("on-0-control", "on-0-told", "on-1-told", "on-1-noise")
BEFORE = {0: "596ff0c546ebe3f0", 1: "a6886e918a98fa83"}
AFTER = {0: "52ae2b83953b34cd", 1: "ceafb860b02482ae", 2: "65979495dd70679e"}


def metrics(training: str) -> list[dict[str, Any]]:
    path = FOLDER / f"{training}-training.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def validated(training: str, segments: int) -> dict[int, float]:
    """Percent by step."""
    rows = [one for one in metrics(training) if one["validation"]]
    return {one["step"]: 100 * one["validation"][str(segments)] for one in rows}


def table(first: str) -> list[list[str]]:
    """Cells below the names of the table whose first column has this name."""
    part = next(part for part in PAGE.split("\n\n") if part.startswith(f"| {first} |"))
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()[2:]]


def readings() -> dict[tuple[str, bool, int], EvaluationRecord]:
    """By weights, whether with a dead band, and segments."""
    found = EvaluationStore(REPORTS / "dead-band" / "records.jsonl").read().latest().values()
    return {
        (one.point.weights, bool(one.point.dead_band), one.point.segments): one for one in found
    }


def test_the_arms_are_what_was_validated() -> None:
    for step, *cells in table("step"):
        for arm, cell in zip(ARMS, cells, strict=True):
            value = validated(arm, 64).get(int(step))
            assert cell == ("" if value is None else f"{value:.1f} %"), (arm, step)
    told, control = validated("on-0-told", 64), validated("on-0-control", 64)
    below = [control[step] - told[step] for step in control]
    assert f"by {min(below):.1f} to {max(below):.1f} points at 64 segments" in TEXT
    last = [sum(arm[step] for step in (450, 600)) / 2 for arm in (control, told)]
    assert "({:.1f} to {:.1f} %), on seed 1".format(*last) in TEXT
    assert f"it was {last[0] - last[1]:.1f} below" in TEXT
    arms = [validated(arm, 64) for arm in ("on-1-told", "on-1-noise")]
    told_1, noise = (sum(arm[step] for step in (300, 450)) / 2 for arm in arms)
    assert f"({told_1:.1f} to {noise:.1f})" in TEXT
    assert f"{told_1 - noise:.1f} below" in TEXT


def test_the_readings_are_those_of_the_records() -> None:
    read = readings()
    keys = [
        *((BEFORE[0], False), (AFTER[0], False), (AFTER[0], True)),
        *((BEFORE[1], False), (AFTER[1], False), (AFTER[1], True)),
        *((AFTER[2], False), (AFTER[2], True)),
    ]
    shown = 0
    for segments_text, samples, *cells in table("segments read"):
        segments = int(segments_text.replace(",", ""))
        for cell, key in zip(cells, keys, strict=True):
            one = read.get((*key, segments))
            if one is None:
                assert cell == "not read"
                continue
            shown += key[0] in AFTER.values()
            assert one.point.samples == int(samples)
            assert cell == f"{100 * one.accuracy:.4g} %"
    assert shown == sum(key[0] in AFTER.values() for key in read) == 54
    plain = EvaluationStore(REPORTS / "figure-5" / "records.jsonl").read().latest().values()
    assert sum(one.point.weights in AFTER.values() for one in plain) == 29


def test_more_steps_brought_less_at_long_lengths() -> None:
    read = readings()
    found = {}
    for seed, weights in BEFORE.items():
        for segments in (256, 1024, 4096):
            old, new = (read[one, False, segments] for one in (weights, AFTER[seed]))
            high = newcombe_interval(new.correct, 400, old.correct, 400)[1]
            found[seed, segments] = (100 * (old.accuracy - new.accuracy), high < 0)
    points = [one for one, _ in found.values()]
    assert f"by {min(points):.4g} to {max(points):.4g} points" in TEXT
    assert [key for key, (_, whole) in found.items() if whole] == [(0, 1024), (1, 4096)]
    steps = [
        read[AFTER[seed], False, 1].trained_steps - read[BEFORE[seed], False, 1].trained_steps
        for seed in BEFORE
    ]
    assert "{:,} and {:,} of them behind".format(*steps) in TEXT


def test_what_was_trained() -> None:
    lines = (FOLDER / "settings.jsonl").read_text(encoding="utf-8").splitlines()
    ran = {one["training"]: one for one in map(json.loads, lines)}
    assert {f"{name}-training.jsonl" for name in ran} == {
        path.name for path in FOLDER.glob("*-training.jsonl")
    }
    differ = {key for key in ran["on-0-told"] if ran["on-0-told"][key] != ran["on-0-control"][key]}
    assert differ == {"training", "told_after_burn_in"}
    for arm in (*ARMS, "end-0", "end-1", "end-2"):
        assert ran[arm]["validation_segments"] == [7, 64]
        assert ran[arm]["compile_step"]
    assert not any(ran[end]["told_after_burn_in"] for end in ("end-0", "end-1", "end-2"))
    ends = [validated(end, 7) for end in ("end-0", "end-1", "end-2")]
    assert "({:.3g}, {:.3g} and {:.3g})".format(*(end[max(end)] for end in ends)) in TEXT
    assert [max(validated(end, 64)) for end in ("end-0", "end-1", "end-2")] == [900, 900, 480]
    for start, step in (("start-2", 600), ("start-2-lost", 650)):
        two = {
            one["step"]: one["validation"]["2"]
            for one in metrics(start)
            if "2" in (one["validation"] or {})
        }
        assert min(at for at, value in two.items() if value >= 0.95) == step
    assert "after 600, and after 650" in TEXT
    assert re.search(r"600, 500 and 750 steps", TEXT)
