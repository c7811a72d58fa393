"""Figure 12 from records: fixed lengths in training against mixed ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure_12 import claims as experiment
from rmtscale.study.records.language import LanguageRecord
from tests.command_line import Command
from tests.synthetic.language import curve, shifted, study

pytestmark = pytest.mark.usefixtures("unpainted")
ONE = "read 1 segment: mixing is better"
MANY = "read many more than trained on: mixing is no worse"


def both(trained: tuple[int, ...] = (1, 2, 3, 7)) -> list[LanguageRecord]:
    """Mixed and fixed; at many segments fixed ones are worse, as in the paper."""
    fixed = [
        one
        for seed in (0, 1)
        for many in trained
        if many > 1
        for one in curve(trained_mixing=False, trained_segments=many, seed=seed)
    ]
    worse = shifted(fixed, lambda one: 0.02 * (one.point.segments > one.model.trained_segments))
    return [*study((128,), trained=trained, contexts=(4,)), *worse]


def claims(found: list[LanguageRecord]) -> dict[str, Claim]:
    made = experiment.check_claims(experiment.by_way(found), experiment.paper_curves())
    return {claim.text: claim for claim in made}


def test_the_papers_points() -> None:
    paper = experiment.paper_curves()
    assert sorted(paper["fixed"].curves) == [1, 2, 3, 4, 5, 6, 8, 9, 10]
    assert sorted(paper["mixing"].curves) == list(range(1, 8))
    assert paper["fixed"].curves[1][1] == 1.12006
    assert paper["fixed"].baseline_bits == pytest.approx(paper["mixing"].baseline_bits, rel=1e-3)


def test_all_hold() -> None:
    found = claims(both())
    assert {claim.outcome for claim in found.values()} == {"pass"}
    assert found[ONE].paper == "-13 % (trained on 6) to -6.5 % (trained on 2) of the loss"
    assert "of 6 from trained on" in found[ONE].ours


@pytest.mark.parametrize(("segments", "fails"), [(1, ONE), (32, MANY)])
def test_one_training_on_the_wrong_side_fails(segments: int, fails: str) -> None:
    def more(record: LanguageRecord) -> float:
        model = record.model
        one = (model.trained_segments, model.seed, model.trained_mixing) == (3, 1, True)
        return 0.05 * (one and record.point.segments == segments)

    found = claims(shifted(both(), more))
    assert {text for text, claim in found.items() if claim.outcome == "fail"} == {fails}


def test_a_training_on_one_segment_stands_in_both() -> None:
    ours = experiment.by_way(both())
    assert list(ours["fixed"].rmt) == list(ours["mixing"].rmt) == [1, 2, 3, 7]
    assert ours["fixed"].rmt[1] == ours["mixing"].rmt[1]
    assert not ours["fixed"].rmt[2][0][1].model.trained_mixing


def test_one_way_alone_is_refused() -> None:
    with pytest.raises(BadInput, match="expected models trained on 2 segments or more, fixed and"):
        experiment.by_way(study((128,)))


def test_the_title_says_what_the_numbers_say() -> None:
    said = experiment.answer(experiment.by_way(both()))
    assert said.startswith("Mixing lengths in training changes the loss by -0.0")
    assert said.endswith("bits per byte at many segments")


def test_from_records(rmtscale: Command, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(one.to_line() + "\n" for one in both((1, 2, 7))))
    out = tmp_path / "out"
    done = rmtscale("reproduce", "figure-12", "--records", str(path), "--out", str(out))
    assert done.code == 0, done.err
    assert "pass: all 2 claims hold" in done.out
    assert {file.name for file in out.iterdir()} == {
        *("figure-12.png", "figure-12.svg", "figure-12.csv", "records.jsonl", "README.md")
    }
