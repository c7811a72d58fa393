"""Figure 5 from records: the reference points, targets, constant memory, every seed shown."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from rmtscale.records.measurement import Memory
from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure import REPORTS, Sources
from rmtscale.study.figures.figure_5 import claims as experiment
from rmtscale.study.figures.figure_5 import page
from rmtscale.study.figures.figure_5.drawing import Column, draw
from rmtscale.study.figures.memory_tasks.axes import TITLES, right_share
from rmtscale.study.figures.memory_tasks.backbones import described, run_names
from rmtscale.study.figures.memory_tasks.page import csv_of
from rmtscale.study.figures.memory_tasks.plan import RETENTION_SEGMENTS, plan
from rmtscale.study.figures.memory_tasks.recipes import SEEDS, TASKS, recipes
from rmtscale.study.figures.registry import FIGURES
from rmtscale.study.figures.training_runs import TrainingSetup
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from tests.cli.test_evaluate_probe import probed
from tests.command_line import Command
from tests.synthetic.evaluations import DECODER, ENCODER, MIB, curve, evaluation

ENCODER_CLAIMS = (
    "Memorize: 99.50 % at 4,096 segments on 3 seeds",
    "Detect & Memorize: 99.50 % at 4,096 segments on 3 seeds",
    "Reasoning: 85.00 % at 4,096 segments on 2 seeds",
)
pytestmark = pytest.mark.usefixtures("unpainted")


def records(accuracy: float = 1.0, **values: object) -> list[EvaluationRecord]:
    return [
        one
        for task in TASKS
        for seed in SEEDS
        for one in curve(RETENTION_SEGMENTS, accuracy, task=task, trained_seed=seed, **values)
    ]


def claims(found: list[EvaluationRecord], *, long: bool = True) -> dict[str, Claim]:
    ours = experiment.by_task(found)
    made = experiment.check_claims(ours, experiment.paper_curves(), long=long)
    return {claim.text: claim for claim in made}


def test_the_papers_points() -> None:
    paper = experiment.paper_curves()
    assert {task: points[4096] for task, points in paper.items()} == {
        "memorize": 0.9056,
        "detect-memorize": 0.9607,
        "reasoning": 0.8190,
    }
    assert list(paper["memorize"]) == [2**power for power in range(1, 13)]


def test_all_hold() -> None:
    found = claims(records())
    assert {claim.outcome for claim in found.values()} == {"pass"}
    assert len(found) == 9 * 4
    assert (
        found["Memorize, seed 2: at least the paper's at every length"].ours == "at all 12 lengths"
    )


@pytest.mark.parametrize(
    ("accuracy", "task", "outcome"),
    [
        (0.995, "Memorize, seed 0: 99.50 % at 4,096 segments", "pass"),
        (0.994, "Memorize, seed 0: 99.50 % at 4,096 segments", "fail"),
        (0.98, "Detect & Memorize, seed 0: 98.00 % at 4,096 segments", "pass"),
        (0.97, "Detect & Memorize, seed 0: 98.00 % at 4,096 segments", "fail"),
        (0.90, "Reasoning, seed 0: 90.00 % at 4,096 segments", "pass"),
        (0.89, "Reasoning, seed 0: 90.00 % at 4,096 segments", "fail"),
    ],
)
def test_targets(accuracy: float, task: str, outcome: str) -> None:
    assert claims(records(accuracy))[task].outcome == outcome


def test_below_the_paper_says_where() -> None:
    def forgets(count: int) -> float:
        return 1.0 if count < 2048 else 0.6

    found = claims(curve(RETENTION_SEGMENTS, forgets))
    claim = found["Memorize, seed 0: at least the paper's at every length"]
    assert claim.outcome == "fail"
    assert claim.ours == "below it at 2 of 12, most at 4,096: 60.00 % against 90.56 %"


def test_growing_memory_fails() -> None:
    grown = [
        one
        for count in RETENTION_SEGMENTS
        for one in curve([count], 1.0, memory=Memory(peak_allocated_bytes=300 * MIB + 4096 * count))
    ]
    text = "Memorize, seed 0: memory constant in length, measured"
    assert claims(grown)[text].outcome == "fail"
    assert claims(records())[text].outcome == "pass"
    assert claims(records())[text].ours == "300.0 MiB at 4,096, 0.0 % over all"


def test_on_a_cpu_ids_are_left_out() -> None:
    made = [
        one
        for count in (2, 64, 1024)
        for one in curve(
            [count],
            1.0,
            memory=Memory(peak_resident_bytes=500 * MIB + 400 * 504 * count),
            device="cpu",
        )
    ]
    text = "Memorize, seed 0: memory constant in length, measured"
    assert claims(made)[text].ours == "500.0 MiB at 1,024, 0.0 % over all"


def test_a_short_evaluation_cannot_tell() -> None:
    found = claims(curve([1, 2, 7], 1.0))
    assert found["Memorize, seed 0: learned"].outcome == "pass"
    assert found["Memorize, seed 0: 99.50 % at 4,096 segments"].outcome == "not measurable"


def test_the_toy_size_is_held_against_chance() -> None:
    found = claims(curve([1, 2, 7], 0.18), long=False)
    assert set(found) == {
        "Detect & Memorize: trained and evaluated",
        "Reasoning: trained and evaluated",
        "Memorize, seed 0: learned",
        "Memorize, seed 0: memory constant in length, measured",
    }
    assert found["Memorize, seed 0: learned"].outcome == "fail"


def encoders(accuracy: float = 1.0, seeds: tuple[int, ...] = SEEDS) -> list[EvaluationRecord]:
    return [
        one
        for task in TASKS
        for seed in seeds
        for one in curve(
            RETENTION_SEGMENTS,
            accuracy,
            task=task,
            trained_seed=seed,
            trained_backbone=ENCODER,
            segment_tokens=499,
            weights=f"encoder {task} {seed}",
        )
    ]


def encoder_claims(found: list[EvaluationRecord]) -> dict[str, Claim]:
    made = experiment.check_encoder(experiment.by_task(found), experiment.paper_curves())
    return {claim.text.removeprefix("Pretrained encoder, "): claim for claim in made}


@pytest.mark.parametrize(
    ("accuracy", "seeds", "outcomes"),
    [
        (0.995, SEEDS, ["pass", "pass", "pass"]),
        (0.994, SEEDS, ["fail", "fail", "pass"]),
        (0.849, SEEDS, ["fail", "fail", "fail"]),
        (1.0, (0, 1), ["not measurable", "not measurable", "pass"]),
        (1.0, (0,), ["not measurable"] * 3),
    ],
)
def test_a_pretrained_encoder_on_its_seeds(
    accuracy: float, seeds: tuple[int, ...], outcomes: list[str]
) -> None:
    found = encoder_claims(encoders(accuracy, seeds))
    assert [found[text].outcome for text in ENCODER_CLAIMS] == outcomes
    assert not any(" seed 0: 99.50 %" in text for text in found), "the decoder's targets"


def test_lora_and_all_weights_do_not_lend_each_other_seeds() -> None:
    whole = replace(ENCODER, lora_rank=None)
    ours = [
        *curve([64, 4096], 0.9, trained_backbone=ENCODER, weights="adapter"),
        *(
            one
            for seed in SEEDS
            for one in curve(
                [64, 4096], 1.0, trained_backbone=whole, trained_seed=seed, weights=f"whole {seed}"
            )
        ),
    ]
    found = encoder_claims(ours)
    end = ": 99.50 % at 4,096 segments on 3 seeds"
    assert found[f"Memorize, LoRA{end}"].outcome == "fail"
    assert found[f"Memorize, all weights{end}"].outcome == "pass"
    assert f"Memorize{end}" not in found
    assert found[f"Detect & Memorize{end}"].ours == "no run yet"


def test_a_seed_trained_again_counts_once_by_its_worst() -> None:
    """Neither a later training nor one with fewer samples takes the place of a worse one."""
    whole = replace(ENCODER, lora_rank=None)
    other = replace(whole, name="rounded")

    def said(*again: tuple[float, int]) -> tuple[str, str]:
        ours = [
            one
            for seed in SEEDS
            for one in curve(
                [64, 4096], 1.0, trained_backbone=whole, trained_seed=seed, weights=f"first {seed}"
            )
        ]
        for at, (accuracy, samples) in enumerate(again):
            ours += curve(
                [4096], accuracy, samples=samples, trained_backbone=other, weights=f"again {at}"
            )
        claim = encoder_claims(ours)["Memorize: 99.50 % at 4,096 segments on 3 seeds"]
        return claim.ours, claim.outcome

    assert said() == ("worst of 3 seeds 100.00 % (99.62 to 100.00)", "pass")
    twice = "worst of 3 seeds (seed 0: the worse of 2 trainings)"
    assert said((0.75, 400)) == (f"{twice} 75.00 % (70.53 to 78.99)", "fail")
    # As many right of fewer samples is known less well.
    assert said((1.0, 64)) == (f"{twice} 100.00 % (94.34 to 100.00)", "pass")
    thrice = "worst of 3 seeds (seed 0: the worst of 3 trainings)"
    assert said((1.0, 64), (0.75, 400)) == (f"{thrice} 75.00 % (70.53 to 78.99)", "fail")
    seeds = encoder_claims(
        [
            *curve([4096], 1.0, trained_backbone=whole, weights="first"),
            *curve([4096], 1.0, trained_backbone=other, weights="again"),
            *curve([4096], 1.0, trained_backbone=whole, weights="third", trained_seed=1),
        ]
    )["Memorize: 99.50 % at 4,096 segments on 3 seeds"]
    assert seeds.outcome == "not measurable", "three trainings of two seeds are no third seed"


def test_a_pretrained_encoder_without_a_run() -> None:
    found = encoder_claims([])
    assert {text: claim.ours for text, claim in found.items()} == dict.fromkeys(
        ENCODER_CLAIMS, "no run yet"
    )
    short = encoder_claims([one for one in encoders() if one.point.segments < 512])
    assert [short[text].ours for text in ENCODER_CLAIMS] == ["not evaluated there"] * 3


def test_memory_is_compared_between_batches_of_one_size() -> None:
    mixed = curve([2, 4, 8], 1.0) + curve(
        [512, 4096], 1.0, batch_size=64, memory=Memory(peak_allocated_bytes=200 * MIB)
    )
    text = "Memorize, seed 0: memory constant in length, measured"
    assert claims(mixed)[text].ours == "300.0 MiB at 8, 0.0 % over all"
    compiled = [replace(one, point=replace(one.point, compile_step=True)) for one in mixed[3:]]
    alike = [*mixed[:3], *(replace(one, batch_size=100) for one in compiled)]
    assert claims(alike)[text].ours == "300.0 MiB at 8, 0.0 % over all"
    merged = [replace(one, point=replace(one.point, merged_lora=True)) for one in mixed[3:]]
    alike = [*mixed[:3], *(replace(one, batch_size=100) for one in merged)]
    assert claims(alike)[text].ours == "300.0 MiB at 8, 0.0 % over all"
    early = [replace(one, batch_size=100, probe=probed(None)) for one in mixed[3:]]
    assert claims([*mixed[:3], *early])[text].ours == "300.0 MiB at 8, 0.0 % over all"
    assert set(experiment.peaks_of(experiment.by_task(mixed)).values()) == {300 * MIB}


def test_two_kinds_of_backbone_are_kept_apart(rmtscale: Command, tmp_path: Path) -> None:
    """Each has its claims, its tables and its panels, whatever the order of the records."""
    path = tmp_path / "records.jsonl"
    ours = [*encoders(0.8), *records(trained_backbone=DECODER)]
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
    assert sum(",gpt-neox-small,0,," in line for line in lines) == len(records())


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
    """And shares of their own in the headline; two curves of one seed differ in style."""
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
    page.make(FIGURES["figure-5"], Sources(records=Path("any")))
    (drawn,) = drawing.call_args.args
    figure = draw(drawn)
    assert [axes.get_title(loc="left").split("\n") for axes in figure.axes] == [
        ["Memorize", "pretrained encoder, LoRA"],
        ["Memorize", "pretrained encoder, all weights"],
        ["Reasoning", "pretrained encoder, LoRA"],
        ["peak memory, measured", "pretrained encoder, LoRA"],
        ["peak memory, measured", "pretrained encoder, all weights"],
    ]
    said = " ".join(figure.get_suptitle().replace("\N{NO-BREAK SPACE}", " ").split())
    assert said == (
        "Right answers after 2.06M tokens, pretrained encoder, LoRA: Memorize 50 %, Reasoning 50 % "
        "after 1.01k. Right answers after 2.06M tokens, pretrained encoder, all weights: Memorize "
        "100 %"
    )
    styles = {
        str(line.get_label()): line.get_linestyle()
        for axes in figure.axes[:2]
        for line in axes.lines
        if str(line.get_label()).startswith("seed")
    }
    assert styles == {
        "seed 0": "-",
        "seed 0, all weights": "-.",
        "seed 0, all weights, rounded": ":",
        "seed 1, all weights": "-.",
    }
    assert max(drawn[1].peaks) == 4096 * 504, "memory of the training that goes farthest"


def test_each_kind_of_backbone_has_a_column() -> None:
    lengths = [one for one in encoders() if one.point.task != "reasoning"]
    lengths += [one for one in encoders(0.5) if one.point.segments <= 64]
    columns = [
        Column(kind=kind, ours=ours, paper={}, peaks=experiment.peaks_of(ours))
        for kind, ours in (
            ("decoder", experiment.by_task(records())),
            ("pretrained encoder", experiment.by_task(lengths)),
        )
    ]
    figure = draw(columns)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"{title}\n{kind}"
        for title in (*TITLES.values(), "peak memory, measured")
        for kind in ("decoder", "pretrained encoder")
    ]
    said = " ".join(figure.get_suptitle().replace("\N{NO-BREAK SPACE}", " ").split())
    assert said.startswith("Right answers after 2.06M tokens, decoder: Memorize 100 %, ")
    assert said.endswith("Detect & Memorize 100 %, Reasoning 50 % after 31.9k")
    alone = [axes.get_title(loc="left") for axes in draw(columns[:1]).axes]
    assert alone == [*TITLES.values(), "peak memory, measured"]


def test_from_records(rmtscale: Command, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(one.to_line() + "\n" for one in records()))
    done = rmtscale("reproduce", "figure-5", "--records", str(path), "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| 4,096 | 2,064,384 | 100.00 % (99.62 to 100.00) |" in text
    lines = text.splitlines()
    assert lines[2].startswith("**Right answers after 2.06M tokens: Memorize 100 %, Detect & Mem")
    assert max(len(line) for line in lines if not line.startswith("|")) <= 100


def test_shares_keep_a_half() -> None:
    accuracies = (0.685, 0.73, 1.0, 0.995)
    made = [evaluation(4096, share, samples=200) for share in accuracies]
    told = [right_share(some).replace("\N{NO-BREAK SPACE}", " ") for some in (made[:2], made[2:])]
    assert told == ["68.5 to 73 %", "99.5 to 100 %"]


def test_what_was_trained_lies_beside_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint that was evaluated, without its own records, and its metrics."""
    runs, out = tmp_path / "runs", tmp_path / "out"
    planned = plan(page.TRAININGS, quick=False, background="/far/away/prose", seeds=(1,))
    for name in planned.recipes:
        for path in ("metrics.jsonl", "best/model.safetensors", "best/evaluation.jsonl"):
            (runs / name / path).parent.mkdir(parents=True, exist_ok=True)
            (runs / name / path).write_text(f"{path} of {name}")
    monkeypatch.setattr(page, "collect", lambda *_: (planned, records()))
    FIGURES["figure-5"].make(out, Sources(training=TrainingSetup(folder=runs)))
    assert list(planned.recipes) == [f"{task}-1" for task in TASKS]
    for name in planned.recipes:
        folder = out / "checkpoints" / name
        assert {file.name: file.read_text() for file in folder.iterdir()} == {
            "model.safetensors": f"best/model.safetensors of {name}",
            "training.jsonl": f"metrics.jsonl of {name}",
        }
    settings = json.loads((out / "settings.json").read_text())
    assert {one["background"] for one in settings.values()} == {"prose"}


def test_the_recipe_with_all_weights_is_what_was_run() -> None:
    """But for the folders, and the steps, which time cut short on each seed otherwise.

    A setting that is younger than the run was what is its default now.
    """
    defaults = json.loads(MemoryTaskSettings().to_json())
    tried = REPORTS / "figure-5" / "tried" / "pretrained-encoder" / "all-weights"
    ran = [json.loads(line) for line in (tried / "settings.jsonl").read_text().splitlines()]
    assert [one["seed"] for one in ran] == list(SEEDS)
    for one in ran:
        name = f"pretrained-encoder-all-weights-{one.pop('training')}"
        settings = recipes()[name]
        recipe = json.loads(settings.to_json())
        assert min(each["steps"] for each in ran) <= settings.steps <= 1350
        assert settings.lora_rank is None
        assert set(one) <= set(recipe)
        differ = {key for key in recipe if recipe[key] != one.get(key, defaults[key])}
        assert differ == {"steps", "backbone", "background"}


@pytest.mark.parametrize("seed", [1, 2])
def test_the_recipe_of_reasoning_is_what_was_run(seed: int) -> None:
    """But for the folder of the noise, and how often it was validated."""
    folder = REPORTS / "figure-5" / "checkpoints" / f"reasoning-{seed}"
    ran = json.loads(load_checkpoint(folder).settings.to_json())
    recipe = json.loads(recipes()[f"reasoning-{seed}"].to_json())
    assert set(recipe) == set(ran)
    differ = {key for key in recipe if recipe[key] != ran[key]}
    assert differ == {"background", "validate_every"}


def test_no_records(rmtscale: Command, tmp_path: Path) -> None:
    done = rmtscale(
        "reproduce", "figure-5", "--records", str(tmp_path / "none.jsonl"), "-o", str(tmp_path)
    )
    assert done.code == 2
    assert "expected a file that 'rmtscale evaluate' wrote" in done.err


def test_numbers_say_what_was_compiled() -> None:
    plain, compiled = evaluation(2, 1.0), evaluation(4, 1.0, compile_step=True)
    assert "compile_step" not in csv_of([plain])
    rows = list(csv.DictReader(io.StringIO(csv_of([plain, compiled]))))
    assert [row["compile_step"] for row in rows] == ["", "1"]


def test_numbers_say_what_was_merged() -> None:
    plain, read = evaluation(2, 1.0), evaluation(4, 1.0)
    merged = replace(read, point=replace(read.point, merged_lora=True))
    assert "merged_lora" not in csv_of([plain])
    rows = list(csv.DictReader(io.StringIO(csv_of([plain, merged]))))
    assert [row["merged_lora"] for row in rows] == ["0", "1"]
