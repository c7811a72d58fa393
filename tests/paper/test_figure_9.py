"""Figure 9 from records: losses of proofs, and lemmas whose names cost less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure_9 import claims as experiment
from rmtscale.study.figures.figure_9.drawing import draw, provers, worth
from rmtscale.study.records.clusters import Part, paired_difference
from rmtscale.study.records.language import LanguageRecord
from tests.command_line import Command
from tests.synthetic.language import one_pass, proof, proofs, shifted

pytestmark = pytest.mark.usefixtures("unpainted")
ALL, LAST = (
    {many: f"{words}, trained on {many}: memory is lower than none" for many in (2, 4, 6)}
    for words in ("all tokens", "last segment")
)
ENOUGH = "trained on more than 4 segments: no better at the longest input"
NAMES = "names: lower with their lemma in the context"
MORE = "names: memory makes more of their lemma than none"


def claims(found: list[LanguageRecord]) -> dict[str, Claim]:
    return {claim.text: claim for claim in experiment.check_claims(provers(found))}


def alike() -> list[LanguageRecord]:
    """Trained on 6 is a little worse than trained on 4, as in the paper."""
    return shifted(
        proofs(), lambda one: 0.1 * (one.model.trained_segments == 6), "all", "last-segment"
    )


def test_all_hold() -> None:
    found = claims(alike())
    assert {claim.outcome for claim in found.values()} == {"pass"}
    assert found.keys() == {*ALL.values(), *LAST.values(), ENOUGH, NAMES, MORE}
    assert found[NAMES].paper == "not in the paper"


def test_more_segments_in_training_that_help_fail() -> None:
    assert claims(proofs())[ENOUGH].outcome == "fail"
    assert claims(proofs(trained=(2, 4)))[ENOUGH].outcome == "not measurable"


@pytest.mark.parametrize(
    ("part", "fails"),
    [("all", {ALL[6]}), ("last-segment", {LAST[6]}), ("names", {NAMES, MORE})],
)
def test_one_length_of_one_seed_on_the_wrong_side_fails(part: str, fails: set[str]) -> None:
    def more(record: LanguageRecord) -> float:
        model = record.model
        is_it = (model.trained_segments, model.seed, record.point.segments) == (6, 1, 3)
        return 0.6 * (is_it and bool(model.memory_tokens))

    found = claims(shifted(alike(), more, part))
    assert {text for text, claim in found.items() if claim.outcome == "fail"} == fails


def test_a_lemma_worth_as_much_without_memory_fails() -> None:
    def more(record: LanguageRecord) -> float:
        return 0.4 * (not record.model.memory_tokens and record.point.segments == 3)

    found = claims(shifted(alike(), more, "names-without"))
    assert {text for text, claim in found.items() if claim.outcome == "fail"} == {MORE}


def test_one_segment_is_not_held_against_memory() -> None:
    def more(record: LanguageRecord) -> float:
        return 0.6 * (record.point.segments == 1)

    assert claims(shifted(alike(), more, "all", "names"))[ALL[6]].outcome == "pass"


def test_each_is_held_against_the_model_trained_on_as_many_segments() -> None:
    def more(record: LanguageRecord) -> float:
        model = record.model
        return -0.5 * (model.trained_segments == 4 and not model.memory_tokens)

    found = claims(shifted(alike(), more, "all"))
    assert {text for text, claim in found.items() if claim.outcome == "fail"} == {ALL[4]}


def test_other_numbers_of_trained_tokens_cannot_be_compared() -> None:
    def fewer(record: LanguageRecord) -> LanguageRecord:
        model = record.model
        if model.memory_tokens or model.trained_segments != 4:
            return record
        return replace(record, model=replace(model, trained_tokens=model.trained_tokens - 1))

    found = claims([fewer(one) for one in alike()])
    unknown = {text for text, claim in found.items() if claim.outcome == "not measurable"}
    assert unknown == {ALL[4], LAST[4]}


def test_one_pass_is_compared_with_two_segments_read_by_the_model_trained_on_two() -> None:
    found = provers(proofs())
    said = experiment.against_one_pass(found, "all")
    records = [
        next(
            one
            for one in proofs()
            if (one.model.memory_tokens, one.model.trained_segments) == (10, 2)
            and (one.model.seed, one.point.segments) == (seed, 2)
        )
        for seed in (0, 1)
    ]
    wanted = [paired_difference(one.whole, one_pass(seed=one.model.seed).whole) for one in records]
    assert [one.interval for one in said] == wanted
    assert [one.where for one in said] == ["seed 0", "seed 1"]
    other = provers([one for one in proofs() if one.model.trained_segments != 1])
    assert experiment.against_one_pass(other, "all") == []


def test_without_a_baseline_or_names_it_cannot_be_told() -> None:
    found = claims([one for one in proofs() if one.model.memory_tokens])
    assert {found[text].outcome for text in (*ALL.values(), *LAST.values())} == {"not measurable"}
    bare = [replace(one, parts={"all": one.whole}) for one in proofs()]
    found = claims(bare)
    assert {found[text].outcome for text in (NAMES, *LAST.values())} == {"not measurable"}
    assert {found[text].outcome for text in ALL.values()} == {"pass"}


def test_what_a_lemma_is_worth_is_paired_over_the_mean_of_the_seeds() -> None:
    (one,) = provers([proof(2, seed=seed) for seed in (0, 1)])
    records = [one.runs[seed][2] for seed in (0, 1)]

    def mean(name: str) -> Part:
        losses = zip(*(record.parts[name].loss_nats for record in records), strict=True)
        return replace(records[0].parts[name], loss_nats=tuple(sum(loss) / 2 for loss in losses))

    wanted = paired_difference(mean("names-without"), mean("names"))
    assert worth(one.runs)[2] == pytest.approx((wanted.mean, wanted.low, wanted.high))


def test_the_title_says_what_the_numbers_say() -> None:
    said = experiment.answer(provers(proofs()))
    assert said.startswith("Memory trained on 6 segments lowers the loss of proofs by ")
    end = "to its name a lemma is worth at {} bits per byte more than without memory"
    assert said.endswith(f" bits per byte; {end.format('least 0.0354')}")

    def more(record: LanguageRecord) -> float:
        return 0.1 * (not record.model.memory_tokens)

    said = experiment.answer(provers(shifted(proofs(), more, "names-without")))
    assert said.endswith(f" bits per byte; {end.format('most 0.0417')}")
    useless = proofs(shift=1.0, recalled=0.0)
    gaps = [
        gap.interval.mean
        for prover in provers(useless)
        if prover.memory and prover.trained == 6
        for gap in experiment.against(prover, provers(useless), "all")
    ]
    assert experiment.answer(provers(useless)) == (
        f"Memory trained on 6 segments raises the loss of proofs by {min(gaps):.4f} to "
        f"{max(gaps):.4f} bits per byte; to its name a lemma is worth no more than without memory"
    )

    def at_two(record: LanguageRecord) -> float:
        return float(record.model.memory_tokens > 0 and record.point.segments == 2)

    here = shifted(proofs(), at_two)
    assert experiment.answer(provers(here)).startswith(
        "Memory trained on 6 segments does not lower the loss of proofs at every length; to "
    )


def test_two_of_a_kind_are_refused() -> None:
    with pytest.raises(BadInput, match="trained alike with seed 0"):
        provers([proof(2), proof(2, name="another")])


def test_from_records(rmtscale: Command, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(one.to_line() + "\n" for one in alike()))
    done = rmtscale("reproduce", "figure-9", "--records", str(path), "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    assert "pass: all 9 claims hold" in done.out
    names = {file.name for file in (tmp_path / "out").iterdir()}
    text = (tmp_path / "out" / "README.md").read_text()
    assert text.index("figure-9.png") < text.index("A sample is") < text.index("## Numbers")
    assert names == {"figure-9.png", "figure-9.svg", "figure-9.csv", "records.jsonl", "README.md"}
    page = " ".join((tmp_path / "out" / "README.md").read_text().split())
    assert "reads the same text in one pass (bits per byte): all tokens seed 0: +0." in page
    header = (tmp_path / "out" / "figure-9.csv").read_text().splitlines()[0]
    assert "names_without_loss_nats" in header.split(",")


def test_backbones_stand_apart(rmtscale: Command, tmp_path: Path) -> None:
    """Another tokenizer makes other targets: each has its picture, its table and its claims."""
    other = [
        replace(
            one,
            model=replace(one.model, backbone="smollm2"),
            point=replace(one.point, weights=f"smollm2-{one.point.weights}", samples=64),
        )
        for one in proofs()  # trained on 6 segments it is better than trained on 4
    ]
    path, out = tmp_path / "records.jsonl", tmp_path / "out"
    path.write_text("".join(one.to_line() + "\n" for one in [*other, *alike()]))
    done = rmtscale("reproduce", "figure-9", "--records", str(path), "--out", str(out))
    assert done.code == 1
    assert "1 of 18 claims" in done.err
    page = (out / "README.md").read_text()
    assert page.count("A sample is a theorem's statement") == 1
    first, second = page.split("## gpt-neo-synthetic\n")[1].split("## smollm2\n")
    assert "(figure-9.png)" in first
    assert "(figure-9-2.png)" in second
    assert {"figure-9.png", "figure-9-2.png"} <= {file.name for file in out.iterdir()}
    claims_of = page.split("## Claims")[1].splitlines()
    assert sum(line.startswith("| gpt-neo-synthetic, ") for line in claims_of) == 9
    (failed,) = (line for line in claims_of if "| fail |" in line)
    assert failed.startswith(f"| smollm2, {ENOUGH} |")
    assert "the same for every curve of a length of one backbone" in " ".join(page.split())


@pytest.mark.usefixtures("unpainted")
@pytest.mark.parametrize("trained", [(2,), (2, 4), (2, 4, 6)])
def test_the_legend_is_whole(trained: tuple[int, ...]) -> None:
    figure = draw(provers(proofs(trained)), "An answer")
    figure.draw_without_rendering()
    (legend,) = figure.legends
    whole, box = figure.bbox, legend.get_window_extent()
    assert whole.x0 <= box.x0
    assert box.x1 <= whole.x1
