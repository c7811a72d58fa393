"""Figure 5 and the dead band, where a training went on after it had been read."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from rmtscale.records.mapping import from_mapping
from rmtscale.study.figures.dead_band.claims import check_claims
from rmtscale.study.figures.dead_band.comparisons import compare, groups_of
from rmtscale.study.figures.dead_band.drawing import draw
from rmtscale.study.figures.figure import REPORTS, Sources
from rmtscale.study.figures.figure_5 import claims as figure_5
from rmtscale.study.figures.figure_5 import page
from rmtscale.study.figures.figure_5.drawing import draw as draw_figure_5
from rmtscale.study.figures.memory_tasks.backbones import by_kind
from rmtscale.study.figures.memory_tasks.page import csv_of
from rmtscale.study.figures.memory_tasks.published import paper_points
from rmtscale.study.figures.memory_tasks.recipes import recipes
from rmtscale.study.figures.memory_tasks.shown import first
from rmtscale.study.figures.memory_tasks.summary import summary_table
from rmtscale.study.figures.memory_tasks.trainings import later_states
from rmtscale.study.figures.memory_tasks.ways import trained_words
from rmtscale.study.figures.registry import FIGURES
from rmtscale.study.records.evaluation import EvaluationRecord, EvaluationStore
from rmtscale.study.training.checkpoint import Trained, read_meaning, weights_digest
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.learned import learned
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from tests.command_line import Command
from tests.synthetic.evaluations import ENCODER, curve

pytestmark = pytest.mark.usefixtures("unpainted")
PAPER = {task: points for (task,), points in paper_points("figure_5", ("segments",)).items()}
CHECKPOINTS = REPORTS / "figure-5" / "checkpoints"
FIRST, LATER = CHECKPOINTS / "reasoning-2", CHECKPOINTS / "reasoning-2-on"


def seeds(
    held: float = 0.91, plain: float = 0.6, later: tuple[float, float] | None = (0.985, 0.7)
) -> list[EvaluationRecord]:
    """Three seeds of Reasoning with a dead band and without; seed 2 as given, and trained on."""
    states = [(0, "w0", 12_000, "", 0.99, 0.75), (1, "w1", 12_000, "", 0.98, 0.55)]
    states.append((2, "w2", 12_000, "", held, plain))
    if later is not None:
        states.append((2, "w3", 15_950, "w2", *later))
    return [
        one
        for seed, weights, steps, before, with_band, without in states
        for dead_band, accuracy in ((0.3, with_band), (0.0, without))
        for one in curve(
            [64, 4096],
            accuracy,
            task="reasoning",
            samples=400,
            dead_band=dead_band,
            trained_seed=seed,
            weights=weights,
            trained_steps=steps,
            trained_from=before,
        )
    ]


def on_seeds(records: list[EvaluationRecord]) -> dict[str, tuple[str, str]]:
    (ours,) = compare(records).values()
    return {
        claim.text: (claim.outcome, claim.ours)
        for claim in check_claims(ours, PAPER)
        if "on 3 seeds" in claim.text
    }


@pytest.mark.parametrize(
    ("held", "later", "first", "latest"),
    [
        (0.91, 0.985, ("fail", "2 of 3"), ("pass", "3 of 3")),
        (0.985, 0.91, ("pass", "3 of 3"), ("fail", "2 of 3")),
    ],
)
def test_seeds_are_claimed_by_first_and_by_latest_states(
    held: float, later: float, first: tuple[str, str], latest: tuple[str, str]
) -> None:
    """Better or worse: what more steps bring neither hides nor replaces what was read before."""
    shares = f"; seed 2: {100 * held:.2f} % after 12,000, {100 * later:.2f} % after 15,950 steps"
    assert on_seeds(seeds(held, later=(later, 0.5))) == {
        "Reasoning: on 3 seeds": (first[0], f"{first[1]} reach it"),
        "Reasoning: on 3 seeds, latest states": (latest[0], f"{latest[1]} reach it{shares}"),
    }
    alone = on_seeds(seeds(held, later=None))
    assert alone == {"Reasoning: on 3 seeds": (first[0], f"{first[1]} reach it")}


def test_a_memory_that_has_grown_is_no_later_state() -> None:
    """It counts under a recipe of its own: another size of the model's state is another model."""
    usual = recipes()["reasoning-0"]

    def with_memory(count: int) -> list[EvaluationRecord]:
        noted = learned(usual), learned(replace(usual, memory_tokens=count))
        return [
            replace(one, trained_with=noted) if one.point.weights == "w3" else one
            for one in seeds()
        ]

    same, grown = on_seeds(with_memory(usual.memory_tokens)), on_seeds(with_memory(16))
    assert "Reasoning: on 3 seeds, latest states" in same
    assert sorted(grown) == ["Reasoning, 16 memory tokens: on 3 seeds", "Reasoning: on 3 seeds"]


def test_a_later_state_without_a_band_takes_no_ones_place() -> None:
    """Nor does it become a first state where the first one was read without a band alone."""
    records = seeds()

    def without(weights: str) -> list[EvaluationRecord]:
        return [one for one in records if one.point.weights != weights or not one.point.dead_band]

    assert on_seeds(without("w3")) == {
        "Reasoning: on 3 seeds": ("fail", "2 of 3 reach it"),
        "Reasoning: on 3 seeds, latest states": ("not measurable", "weights of 2 of 3 are kept"),
    }
    (ours,) = compare(without("w3")).values()
    assert "trained on" not in summary_table(groups_of({"": ours}))
    found = on_seeds(without("w2"))
    assert found["Reasoning: on 3 seeds"] == ("not measurable", "weights of 2 of 3 are kept")
    assert found["Reasoning: on 3 seeds, latest states"] == (
        "pass",
        "3 of 3 reach it; seed 2: 98.50 % after 15,950 steps",
    )


def test_every_state_has_its_own_claims() -> None:
    (ours,) = compare(seeds()).values()
    found = {claim.text: claim.outcome for claim in check_claims(ours, PAPER)}
    end = "97.00 % at 4,096 segments"
    assert found[f"Reasoning, seed 2: {end}"] == "fail"
    assert found[f"Reasoning, seed 2, after 15,950 steps: {end}"] == "pass"


def test_first_lines_are_of_first_states(rmtscale: Command, tmp_path: Path) -> None:
    """And picture and table say of the later one what it is."""
    drawing = draw(groups_of(compare(seeds())))
    said = " ".join(drawing.get_suptitle().replace("\N{NO-BREAK SPACE}", " ").split())
    assert said.endswith("Reasoning 91 to 99 % (55 to 75 %)")
    (axes,) = drawing.axes
    assert sorted(text.get_text() for text in axes.texts) == [
        "chance", "seed 0", "seed 1", "seed 2", "seed 2", "seed 2 (later)", "seeds 0, 1, 2 (later)",
    ]  # fmt: skip
    file = tmp_path / "records.jsonl"
    file.write_text("".join(f"{one.to_line()}\n" for one in seeds()))
    given = ["--records", str(file), "--out", str(tmp_path / "out")]
    assert rmtscale("reproduce", "dead-band", *given).code == 1
    text = " ".join((tmp_path / "out" / "README.md").read_text().split())
    cell = "91 to 99 % (55 to 75), 3 seeds; 98 to 99 % (55 to 75) with seed 2 trained on"
    assert f"| {cell} |" in text
    assert "to the best of all trainings, of each its first state." in text
    assert "Trained on after it had been read: Reasoning, seed 2, from 12,000 to 15,950" in text


def test_figure_5_draws_first_states_and_lists_all(
    rmtscale: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = [one for one in seeds() if not one.point.dead_band]
    curves = figure_5.by_task(plain)
    assert list(curves["reasoning"]) == ["seed 0", "seed 1", "seed 2", "seed 2, after 15,950 steps"]
    group = figure_5.group_of("", curves)
    readings = first(group.readings["reasoning"])
    assert [one.name for one in readings] == ["seed 0", "seed 1", "seed 2"]
    file = tmp_path / "records.jsonl"
    file.write_text("".join(f"{one.to_line()}\n" for one in plain))
    given = ["--records", str(file), "--out", str(tmp_path / "out")]
    assert rmtscale("reproduce", "figure-5", *given).code == 1
    text = (tmp_path / "out" / "README.md").read_text()
    assert text.splitlines()[2].endswith(": Reasoning 55 to 75 % (paper 81.9 %).**")
    plain_text = text.replace("\N{NO-BREAK SPACE}", " ")
    assert "| 55 to 75 % (3 seeds); 55 to 75 % with seed 2 trained on |" in plain_text
    assert "| seed 2 | seed 2, after 15,950 steps |" in text
    assert "The picture is of first states." in " ".join(text.split())
    drawing = mock.Mock(wraps=draw_figure_5)
    monkeypatch.setattr(page, "draw", drawing)
    page.make(FIGURES["figure-5"], Sources(records=file))
    figure = draw_figure_5(*drawing.call_args.args)
    assert {line.get_gid() for line in figure.axes[0].lines if line.get_gid()} == {
        "seed 0", "seed 1", "seed 2", "the paper's",
    }  # fmt: skip
    path = tmp_path / "alone.jsonl"
    path.write_text("".join(f"{one.to_line()}\n" for one in plain if one.point.weights != "w3"))
    given = ["--records", str(path), "--out", str(tmp_path / "alone")]
    assert rmtscale("reproduce", "figure-5", *given).code == 1
    assert "first states" not in (tmp_path / "alone" / "README.md").read_text()


def test_an_encoders_seeds_are_claimed_in_the_same_way() -> None:
    given = {"trained_backbone": ENCODER, "segment_tokens": 499}
    states = [
        *curve([4096], 1.0, weights="a", **given),
        *curve([4096], 1.0, weights="b", trained_seed=1, **given),
        *curve([4096], 0.86, weights="c", trained_seed=2, trained_steps=700, **given),
        *curve(
            [4096], 1.0, weights="d", trained_seed=2, trained_steps=1000, trained_from="c", **given
        ),
    ]
    made = figure_5.check_encoder(figure_5.by_task(states), PAPER)
    found = {claim.text: claim for claim in made}
    title = "Pretrained encoder, Memorize: 99.50 % at 4,096 segments on 3 seeds"
    assert (found[title].outcome, found[f"{title}, latest states"].outcome) == ("fail", "pass")
    assert found[f"{title}, latest states"].ours == "worst of 3 seeds 100.00 % (99.62 to 100.00)"


def test_numbers_say_what_went_on_from_what() -> None:
    states = [one for one in seeds() if one.trained_seed == 2 and one.point.segments == 64]
    rows = list(csv.DictReader(io.StringIO(csv_of(states))))
    assert {(row["trained_steps"], row["weights"], row["trained_from"]) for row in rows} == {
        ("12000", "w2", ""),
        ("15950", "w3", "w2"),
    }
    assert "trained_from" not in csv_of(states[:2])


def linked(name: str) -> list[EvaluationRecord]:
    """Committed records of a page that say what their training went on from."""
    read = EvaluationStore(REPORTS / name / "records.jsonl").read().records
    return [one for one in read if one.trained_from]


@pytest.mark.parametrize("name", ["figure-5", "dead-band"])
def test_committed_records_are_linked_to_the_weights_that_went_on(name: str) -> None:
    """What the run did not note was filled in from the checkpoint that it was given."""
    every = [one for one in linked(name) if one.point.task == "reasoning"]
    later = [one for one in every if not (one.trained_backbone and one.trained_backbone.pretrained)]
    read = EvaluationStore(REPORTS / name / "records.jsonl").read().records
    assert later_states(read) == {one.point.weights for one in later}, (
        "what an encoder's training began with was never read"
    )
    assert {(one.point.weights, one.trained_from) for one in later} == {
        (weights_digest(LATER), weights_digest(FIRST))
    }
    begun, went_on = (load_checkpoint(folder) for folder in (FIRST, LATER))
    before, after = begun.trained, went_on.trained
    assert went_on.trained_with == (*begun.trained_with, learned(went_on.settings))
    for one in later:
        assert one.trained_with == went_on.trained_with
    assert (before.steps_before, after.steps_before) == (0, before.step)
    assert after.weights_before == weights_digest(FIRST)
    assert {one.trained_steps for one in later} == {after.all_steps}
    from_first = [one for one in read if one.point.weights == weights_digest(FIRST)]
    assert {one.trained_steps for one in from_first} == {before.all_steps}


ADAPTERS = {
    0: "pretrained-encoder-memorize-0-on",
    1: "pretrained-encoder-memorize-1",
    2: "pretrained-encoder-memorize-2",
}
"""Committed adapters of Memorize that were trained on, by seed."""


def first_trainings(seed: int) -> tuple[dict[str, object], ...]:
    """Settings of the trainings before that, as they are kept beside those trainings."""
    found = []
    path = REPORTS / "figure-5" / "tried" / "pretrained-encoder" / "seeds" / "settings.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines():
        settings = json.loads(line)
        name = settings.pop("training")
        if name in (f"memorize-{seed}", f"memorize-{seed}-on"):
            found.append(learned(from_mapping(MemoryTaskSettings, settings)))
    return tuple(found)


@pytest.mark.parametrize(("name", "seeds_there"), [("figure-5", {0, 1, 2}), ("dead-band", {2})])
def test_adapters_that_went_on_are_a_recipe_of_their_own(name: str, seeds_there: set[int]) -> None:
    """Their records note what the checkpoints say, and are no later states of the usual recipe."""
    later = [one for one in linked(name) if one.point.task != "reasoning"]
    assert {(one.point.task, one.trained_seed) for one in later} == {
        ("memorize", seed) for seed in seeds_there
    }
    every = EvaluationStore(REPORTS / name / "records.jsonl").read().records
    for one in later:
        folder = CHECKPOINTS / ADAPTERS[one.trained_seed]
        assert one.point.weights == weights_digest(folder)
        meaning = read_meaning(folder)
        settings = from_mapping(MemoryTaskSettings, meaning["settings"])
        trained = from_mapping(Trained, meaning["trained"])
        assert trained.learned_before == first_trainings(one.trained_seed)
        assert one.trained_with == (*trained.learned_before, learned(settings))
        assert one.trained_from == trained.weights_before
        assert one.trained_steps == trained.all_steps
        assert trained_words(one) == "LoRA, fact fragments 0.005, replay lost"
        before = [own for own in every if own.point.weights == one.trained_from]
        assert before or name == "dead-band", "what it began with is on the page too"
        assert all(own.trained_steps == trained.steps_before for own in before)
        assert all(own.trained_with == trained.learned_before for own in before)
    assert not later_states(every) & {one.point.weights for one in later}


def test_what_seed_0_of_the_adapters_went_on_from_is_committed() -> None:
    begun = CHECKPOINTS / "pretrained-encoder-memorize-0"
    trained = from_mapping(Trained, read_meaning(CHECKPOINTS / ADAPTERS[0])["trained"])
    assert trained.weights_before == weights_digest(begun)
    settings = from_mapping(MemoryTaskSettings, read_meaning(begun)["settings"])
    assert trained.learned_before == (learned(settings),)


def test_adapters_of_memorize_count_by_all_that_they_learned_from() -> None:
    """Their last training is one; before it seed 1 had a training that 0 and 2 had not."""
    every = EvaluationStore(REPORTS / "figure-5" / "records.jsonl").read().records
    last = [one for one in linked("figure-5") if one.point.task == "memorize"]
    assert {one.trained_seed: len(one.trained_with or ()) for one in last} == {0: 2, 1: 3, 2: 2}
    chains = {one.trained_seed: one.trained_with for one in last}
    assert chains[0] == chains[2]
    assert chains[0] is not None
    assert chains[1] is not None
    assert (chains[0][0], chains[0][-1]) == (chains[1][0], chains[1][-1])
    assert learning_rates(chains[1]) == [5e-4, 3e-4, 2.5e-4]
    ends = {one.trained_seed: one for one in last if one.point.segments == 4096}
    assert {seed: (one.correct, one.point.samples) for seed, one in ends.items()} == (
        dict.fromkeys(range(3), (400, 400))
    )
    assert {(one.point.dead_band, one.point.merged_lora) for one in ends.values()} == {(0.0, True)}
    curves = figure_5.by_task(by_kind(every)["pretrained encoder"])
    claims = figure_5.check_encoder(curves, figure_5.paper_curves())
    found = {
        claim.text.partition(":")[0].removeprefix("Pretrained encoder, Memorize, "): claim
        for claim in claims
        if claim.text.endswith("4,096 segments on 3 seeds")
        and claim.text.startswith("Pretrained encoder, Memorize, ")
    }
    usual, on = "LoRA", "LoRA, fact fragments 0.005, replay lost"
    outcomes = {way: (claim.ours.partition(" (")[0], claim.outcome) for way, claim in found.items()}
    assert outcomes == {
        usual: ("worst of 2 seeds 86.00 %", "fail"),
        f"{usual}, in 2 trainings": ("not evaluated there", "not measurable"),
        on: ("worst of 2 seeds 100.00 %", "not measurable"),
        f"{on}, in 3 trainings": ("worst of 1 seed 100.00 %", "not measurable"),
        "all weights": ("worst of 1 seed 100.00 %", "not measurable"),
    }


def learning_rates(chain: tuple[dict[str, object], ...]) -> list[object]:
    usual = MemoryTaskSettings.__dataclass_fields__["learning_rate"].default
    return [one.get("learning_rate", usual) for one in chain]


def test_what_the_recipe_had_otherwise_where_seed_2_went_on() -> None:
    """No setting of the task, the model or the loss: where it begins, and how long each part is."""
    ran = json.loads(load_checkpoint(LATER).settings.to_json())
    recipe = json.loads(recipes()["reasoning-2"].to_json())
    assert {key for key in recipe if recipe[key] != ran[key]} == {
        "init_from", "steps", "final_decay_share", "contrast_first", "start_tokens",
        "stage_min_steps", "stage_max_steps", "burn_in", "burn_in_max_steps",
        "background", "validate_every", "validation_segments",
    }  # fmt: skip
    assert ran["init_from"] == FIRST.name
