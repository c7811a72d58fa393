"""Figure 7 from records: the paper's points, and claims that pass, fail, or cannot be told."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure import Sources
from rmtscale.study.figures.figure_7 import claims as experiment
from rmtscale.study.figures.figure_7.drawing import draw
from rmtscale.study.figures.figure_7.page import TRAININGS
from rmtscale.study.figures.language import runs as language_runs
from rmtscale.study.figures.language.groups import input_sizes
from rmtscale.study.figures.language.plan import Trainings
from rmtscale.study.figures.language.published import Published, counterpart, published
from rmtscale.study.records.language import LanguageRecord
from tests.command_line import Command
from tests.drawn import points
from tests.synthetic.language import baseline, curve, shifted, study

pytestmark = pytest.mark.usefixtures("unpainted")
FIRST = "input 128: with one extra segment below no memory"
MOST = "input 128: the first extra segment brings at least half of what reading brings"
MORE = "input 128: trained on more segments, no worse at many"


def claims(found: list[LanguageRecord]) -> dict[str, Claim]:
    return {claim.text: claim for claim in experiment.check_claims(found, published())}


def is_at(record: LanguageRecord, trained: int, *segments: int) -> bool:
    """With memory, of that training, read at one of these lengths."""
    model = record.model
    at = record.point.segments in segments
    return bool(model.memory_tokens) and model.trained_segments == trained and at


def test_the_papers_points() -> None:
    paper = published()
    assert list(paper) == [128, 1024]
    assert list(paper[128].curves) == list(range(1, 8))
    assert list(paper[1024].curves) == [2, 3, 4, 5]
    assert paper[128].curves[7][2] == 0.94498
    assert paper[1024].curves[5][4] == 0.7691
    # Its own text: perplexity 9.14 without memory and 6.39 with one segment more.
    assert paper[128].changes(7)[2] == pytest.approx(math.log(6.39) / math.log(9.14) - 1, abs=1e-3)
    assert paper[1024].changes(5)[2] == pytest.approx(0.771 / 0.843 - 1, abs=1e-3)


def test_a_size_stands_beside_its_like() -> None:
    small, large = input_sizes(study((128, 512), trained=(2,), counts=(1, 2)))
    (toy,) = input_sizes(study((48,), trained=(2,), counts=(1, 2)))
    paper = published()
    assert counterpart(small, paper) is paper[128]
    assert counterpart(large, paper) is paper[1024]
    assert counterpart(toy, paper) is None


def test_a_baseline_without_any_context_is_claimed_too() -> None:
    """The paper's; ours fills the positions that memory takes."""
    alone = "input 128: with one extra segment below no memory and no context"
    assert alone not in claims(study((128,)))
    both = [*study((128,)), *(baseline(0, seed=seed) for seed in (0, 1))]
    found = claims(both)
    assert found[alone].outcome == found[FIRST].outcome == "pass"
    low = [*study((128,)), *shifted(both[-2:], lambda _: -3.0)]
    assert claims(low)[alone].outcome == "fail"
    assert claims(low)[FIRST].outcome == "pass"


def test_all_hold() -> None:
    found = claims(study())
    assert {claim.outcome for claim in found.values()} == {"pass"}
    assert len(found) == 2 * 10
    assert found[FIRST].paper == "-16 % of the loss"
    assert found["input 512: trained on 3, read up to 12: no worse than 3"].paper == "-0.03 % at 10"
    assert found[FIRST].tolerance == "95 % interval, each of 2 seeds"


@pytest.mark.parametrize(
    ("trained", "segments", "nats", "fails"),
    [
        (3, (2,), 0.3, FIRST),
        (7, (2,), 0.15, MOST),
        (7, (28, 32), 0.05, MORE),
        (4, (16,), 0.02, "input 128: trained on 4, read up to 16: no worse than 4"),
        (7, (32,), 0.02, "input 128: trained on 7, read 32: no worse than 7"),
    ],
)
def test_one_seed_on_the_wrong_side_fails(
    trained: int, segments: tuple[int, ...], nats: float, fails: str
) -> None:
    def more(record: LanguageRecord) -> float:
        return nats * (record.model.seed == 1 and is_at(record, trained, *segments))

    assert claims(shifted(study((128,)), more))[fails].outcome == "fail"


def test_reading_more_that_brings_nothing_fails() -> None:
    def more(record: LanguageRecord) -> float:
        return 0.2 * record.point.segments

    found = claims(shifted(study((128,)), more))
    assert found[MOST].outcome == "fail"
    assert found[MOST].ours == "nothing is gained by reading more"


def test_unequal_steps_are_not_compared() -> None:
    longer = [
        replace(one, model=replace(one.model, trained_steps=8000))
        if one.model.memory_tokens
        else one
        for one in study((128,))
    ]
    found = claims(longer)
    assert found[FIRST].outcome == "not measurable"
    assert found[FIRST].ours == "trained for 4,000 and 8,000 steps"


def test_what_was_not_evaluated_cannot_be_told() -> None:
    found = claims([one for one in study((128,)) if one.model.memory_tokens])
    assert found[FIRST].outcome == "not measurable"
    only_one = claims([*curve((1,)), baseline()])
    assert {claim.outcome for claim in only_one.values()} == {"not measurable"}


def test_the_title_says_what_the_numbers_say() -> None:
    sizes = input_sizes(study())
    said = experiment.answer(sizes)
    assert said.startswith("Memory lowers the loss by 10 % at input 128 and by 9.9 % at input 512;")
    worse = shifted(study((128,)), lambda one: one.model.memory_tokens / 2)
    assert experiment.answer(input_sizes(worse)) == "Memory does not lower the loss at input 128"
    alone = input_sizes([one for one in study((128,)) if one.model.memory_tokens])
    assert "no model without memory" in experiment.answer(alone)


def test_baselines_alone_are_refused() -> None:
    with pytest.raises(BadInput, match="expected models with memory"):
        claims([baseline(), baseline(128)])


def test_from_records(rmtscale: Command, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records = study(trained=(2, 7), counts=(1, 2, 7, 8, 28, 32))
    path.write_text("".join(one.to_line() + "\n" for one in records))
    done = rmtscale("reproduce", "figure-7", "--records", str(path), "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    assert "pass: all 12 claims hold" in done.out
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"figure-7.png", "figure-7.svg", "figure-7.csv", "records.jsonl", "README.md"}
    assert (tmp_path / "out" / "figure-7.csv").read_text().count("\n") == 1 + len(records)
    again = rmtscale(
        "reproduce", "figure-7", "--records", str(path), "--out", str(tmp_path / "out")
    )
    assert again.code == 2
    assert "exists already, expected --force" in again.err


def test_records_of_another_task_are_refused(rmtscale: Command, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(study((128,), trained=(2,), counts=(1,))[0].to_line() + "\n")
    done = rmtscale("reproduce", "figure-9", "--records", str(path), "--out", str(tmp_path / "out"))
    assert done.code == 2
    assert "task 'language-modeling' in the records of figure-9: expected lemma-proof" in done.err
    path.write_text("")
    done = rmtscale("reproduce", "figure-7", "--records", str(path), "--out", str(tmp_path / "out"))
    assert done.code == 2
    assert "expected a file of evaluated language models" in done.err


def test_other_targets_are_refused() -> None:
    first, *others = study((128,))
    first = replace(first, point=replace(first.point, history_tokens=99))
    with pytest.raises(BadInput, match=r"history tokens 99 and 4096 .* expected the same targets"):
        experiment.check_claims([first, *others], published())


def test_what_is_missing_is_trained_and_evaluated(
    rmtscale: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Trainings, int, bool, tuple[int, ...] | None]] = []

    def evaluated(trainings: Trainings, sources: Sources) -> list[LanguageRecord]:
        assert sources.training is not None
        asked.append((trainings, sources.training.jobs, sources.quick, sources.seeds))
        return study((128,), trained=(7,), counts=(1, 2, 7, 28, 32))

    monkeypatch.setattr(language_runs, "train_and_evaluate", evaluated)
    out = tmp_path / "out"
    given = ["--seeds", "0,1", "--jobs", "2", "--runs", str(tmp_path / "runs")]
    done = rmtscale("reproduce", "figure-7", *given, "--out", str(out))
    assert done.code == 0, done.err
    assert asked == [(TRAININGS, 2, False, (0, 1))]
    assert (out / "figure-7.png").exists()


@pytest.mark.parametrize(("papers", "said"), [(1.0, True), (9.0, False)])
def test_what_leaves_the_panel_is_said_and_nothing_else(papers: float, said: bool) -> None:
    """The paper's panel below shares its limits, so that a line may come back into it."""

    def more(record: LanguageRecord) -> float:
        return 2.0 * (record.model.trained_segments == 2 and record.point.segments > 2)

    sizes = input_sizes(shifted(study((128,), trained=(2, 7)), more), mixing=True)
    beside = {128: Published(128, 1.0, {2: {1: 1.0, 2: papers}, 7: {1: 1.0, 2: 0.9}})}
    _, middle, _ = draw(sizes, beside).axes[:3]
    notes = [one.get_text() for one in middle.texts]
    assert any(note.startswith("off the top: trained on 2 (+") for note in notes) == said
    top = middle.get_ylim()[1]
    highest = max(y for line in middle.lines for _, y in points(line))
    assert (highest > top) == said
