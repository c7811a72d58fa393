"""Figure 11 from records: with a curriculum, without, and claims that can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rmtscale.records.mapping import to_mapping
from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure_11 import claims as experiment
from rmtscale.study.figures.figure_11.drawing import draw
from rmtscale.study.figures.memory_tasks.backbones import by_kind
from rmtscale.study.figures.memory_tasks.plan import GENERALIZATION_SEGMENTS
from rmtscale.study.figures.memory_tasks.recipes import recipes
from rmtscale.study.records.evaluation import EvaluationRecord
from tests.command_line import Command
from tests.synthetic.evaluations import DECODER, ENCODER, curve

pytestmark = pytest.mark.usefixtures("unpainted")


def records(with_it: float = 1.0, without: float = 1 / 6) -> list[EvaluationRecord]:
    return [
        one
        for seed in (0, 1)
        for wanted, accuracy in ((True, with_it), (False, without))
        for one in curve(
            GENERALIZATION_SEGMENTS,
            accuracy,
            trained_seed=seed,
            trained_segments=4,
            trained_curriculum=wanted,
        )
    ]


def claims(found: list[EvaluationRecord]) -> dict[str, Claim]:
    made = experiment.check_claims(experiment.by_way(found), 4)
    return {claim.text: claim for claim in made}


def test_all_hold() -> None:
    found = claims(records())
    assert {claim.outcome for claim in found.values()} == {"pass"}
    assert len(found) == 2 * 6


def test_learning_without_it_fails() -> None:
    assert claims(records(without=0.9))["without, seed 1: read 4"].outcome == "fail"


def test_not_learning_with_it_fails() -> None:
    found = claims(records(with_it=0.5))
    assert found["with, seed 0: learned on 4 segments"].outcome == "pass"
    assert found["with, seed 0: read 4"].outcome == "fail"
    assert found["with, seed 0: read 15"].outcome == "fail"


def test_nothing_but_the_curriculum_differs() -> None:
    known = recipes()
    one, other = to_mapping(known["curriculum-1"]), to_mapping(known["no-curriculum-1"])
    assert {name for name in one if one[name] != other[name]} == {"curriculum"}


def test_the_encoder_has_the_same_two() -> None:
    known = recipes()
    one, other = (
        to_mapping(known[f"pretrained-encoder-{way}-2"]) for way in ("curriculum", "no-curriculum")
    )
    assert {name for name in one if one[name] != other[name]} == {"curriculum"}
    assert (one["segment_size"], one["memory_tokens"], one["segments"]) == (512, 10, 4)


def test_two_kinds_of_backbone_are_kept_apart(rmtscale: Command, tmp_path: Path) -> None:
    path, out = tmp_path / "records.jsonl", tmp_path / "out"
    both = [
        *(replace(one, trained_backbone=DECODER) for one in records()),
        *(
            replace(
                one,
                trained_backbone=ENCODER,
                point=replace(one.point, weights=f"e{one.point.weights}", segment_tokens=499),
            )
            for one in records(with_it=0.9)
        ),
    ]
    path.write_text("".join(one.to_line() + "\n" for one in both))
    done = rmtscale("reproduce", "figure-11", "--records", str(path), "--out", str(out))
    assert done.code == 1, "the encoder is below the paper"
    above, below = (out / "README.md").read_text().split("## Pretrained encoder")
    assert "| with, seed 0: read 4 | 99.90 % | 100.00 % " in above
    assert "90.00 %" not in above
    assert "| Pretrained encoder, with, seed 0: read 4 | 99.90 % | 90.00 % " in below
    kinds = {kind: experiment.by_way(own) for kind, own in by_kind(both).items()}
    figure = draw(kinds, 4)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"Memorize, {kind}" for kind in ("decoder from random initialisation", "pretrained encoder")
    ]
    (alone,) = draw({"": kinds["pretrained encoder"]}, 4).axes
    assert alone.get_title(loc="left").endswith("with and without a curriculum")


def test_from_records(rmtscale: Command, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(one.to_line() + "\n" for one in records()))
    out = tmp_path / "out"
    done = rmtscale("reproduce", "figure-11", "--records", str(path), "--out", str(out))
    assert done.code == 0, done.err
    assert "no curriculum, seed 1" in (out / "README.md").read_text()
