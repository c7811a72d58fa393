"""BABILong from records: what has no run is said, claims hold, fail or cannot be told."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from rmtscale.report.claims import Claim
from rmtscale.study.evaluation.rmt_answers import trained_as
from rmtscale.study.figures.babilong.claims import check_claims
from rmtscale.study.figures.babilong.full_attention import full_attention_seconds
from rmtscale.study.figures.babilong.published import SYSTEMS, average, published
from rmtscale.study.figures.babilong.recipes import recipes
from rmtscale.study.figures.babilong.runs import DEAD_BAND, PLAIN, mean_accuracy, runs_of, shown
from rmtscale.study.figures.babilong.standing import standing
from rmtscale.study.figures.babilong.where_lost import NOT_NOTED
from rmtscale.study.records.babilong import BabilongRecord, BabilongStore
from rmtscale.study.tasks.babi.names import QAS, parse_stories
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.lengths import LENGTHS
from rmtscale.study.training.checkpoint import weights_digest
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.curriculum import plan_stages
from rmtscale.units import format_score
from tests.command_line import Command
from tests.committed import babilong_records, babilong_widths
from tests.synthetic.babilong import babilong, every, rows

# Those with LoRA stand on weights that are not here.
CHECKPOINTS = [
    file.parent
    for file in sorted(
        (Path(__file__).parents[2] / "reports/babilong/checkpoints").glob("*/model.safetensors")
    )
]


def claims(records: list[BabilongRecord]) -> dict[str, Claim]:
    return {claim.text: claim for claim in check_claims(runs_of(records))}


def test_recipes_learn_the_bare_story_first() -> None:
    """Every stage fits in a segment, and what a recipe asks the task for is there."""
    known = recipes("prose")
    assert len(known) == 3 * (6 + 3 + 3 + 2 * 6 + 2 * 4 + 2 * 6) + 1
    for name, settings in known.items():
        assert settings.background == "prose"
        assert parse_stories(settings.task_options["stories"]) == (
            QAS if "-all-" in name else (re.findall(r"-(qa\d)-", name)[0],)
        )
        assert settings.compile_step == (not name.startswith("quick-"))
        stateful = re.search("-(qa2|qa3|all)-", name) is not None
        asks_more = "-closing-" in name or (
            stateful and re.search("-noise-|-late-|^smollm2-", name) is not None
        )
        asks_state = "-state-" in name or "-ablation-qa2-" in name or asks_more
        assert ("-noise-" in name) == bool(settings.memory_noise)
        assert ("-late-" in name) == bool(settings.late_facts)
        assert not settings.burn_in_dead_band
        assert asks_state == bool(settings.task_options.get("ask_state"))
        assert asks_more == bool(settings.closing_questions)
        assert (settings.backbone == "") == name.startswith("smollm2-")
        assert (settings.lora_rank is not None) == ("-lora-" in name)
        make_task(settings.task, **settings.task_options)
        segment_tokens = settings.segment_size - 2 * settings.memory_tokens
        stages = plan_stages(settings, segment_tokens, 20)
        assert [stage.tokens for stage in stages[: len(settings.bare_tokens)]] == [
            *settings.bare_tokens
        ]
        assert [stage.bare for stage in stages] == [
            index < len(settings.bare_tokens) for index in range(len(stages))
        ]
        assert stages[-1].burn_in_segments == max(settings.burn_in, default=0)


def test_the_published_table() -> None:
    """Averages over the five tasks, in whole percent."""
    table = published()
    assert list(table) == list(SYSTEMS)
    assert sum(len(own) for tasks in table.values() for own in tasks.values()) == 277
    means = {name: average(tasks) for name, tasks in table.items()}
    for name, expected in {
        "gemini": {"4k": 78, "32k": 68, "128k": 59, "512k": 50, "1M": 41},
        "llama-rag": {"4k": 46, "32k": 44, "128k": 45, "512k": 42, "1M": 39, "10M": 37},
        "mamba": {"4k": 99, "32k": 98, "128k": 93},
        "rmt": {"4k": 92, "32k": 78, "128k": 59, "512k": 46, "1M": 43, "10M": 34},
        "armt": {"4k": 98, "32k": 98, "128k": 97, "512k": 95, "1M": 93, "10M": 76},
    }.items():
        for length, percent in expected.items():
            assert 100 * means[name][length] == pytest.approx(percent, abs=1), (name, length)
    assert "10M" not in means["mamba"]


def test_all_hold() -> None:
    found = claims([*every(1.0), *every(1.0, dead_band=0.3)])
    assert {claim.outcome for claim in found.values()} == {"pass"}
    assert len(found) == 2 * (5 + 2 + 3) + 2
    target = found["average of qa1 to qa5 at 1M: at least 94.00 %"]
    assert target.paper == "92.60 % (ARMT) and 43.00 % (RMT)"


def test_what_has_no_run_is_not_measurable() -> None:
    found = claims(rows("qa1", 1.0, ("0k", "128k")))
    outcomes = [claim.outcome for claim in found.values()]
    assert "fail" not in outcomes
    qa1 = found["qa1: ahead of the published RMT, or level, at every length"]
    assert (qa1.outcome, qa1.ours) == ("not measurable", "at 2 lengths, 10 have no run yet")
    target = found["average of qa1 to qa5 at 128k: at least 97.00 %"]
    assert target.ours == "no run yet: qa2, qa3, qa4, qa5"
    assert found["qa3: ahead of the published RMT, or level, at every length"].ours == "no run yet"


def test_below_is_said() -> None:
    found = claims([*every(1.0), *rows("qa1", 0.9, steps=8000)])
    qa1 = "qa1: ahead of the published RMT, or level, at every length"
    assert found[qa1].outcome == "pass"  # the better run is shown
    found = claims([*rows("qa1", 0.9), *rows("qa2", 0.3)])
    assert (found[qa1].outcome, found[qa1].ours[:17]) == ("fail", "below it at 8 of ")
    target = "average of qa1 to qa5 at 10M: at least 85.00 %"
    assert claims(every(0.84))[target].outcome == "fail"
    assert claims(every(0.85))[target].outcome == "pass"


def test_the_run_that_reads_furthest_is_shown() -> None:
    near, far = rows("qa1", 1.0, ("0k", "1k"), seed=1), rows("qa1", 0.6, seed=2)
    best = shown(runs_of([*near, *far, *rows("qa1", 0.7, seed=3)]))
    assert list(best) == ["qa1"]
    assert "seed 3" in best["qa1"].title
    # Not by which lengths were read: few short ones do not make it worse.
    sparse = rows("qa1", 0.8, ("0k", "10M"), seed=4)
    dense = [babilong("qa1", name, 0.95 if name != "10M" else 0.2, seed=5) for name in LENGTHS]
    assert "seed 5" in shown(runs_of([*sparse, *dense]))["qa1"].title
    held = rows("qa1", 0.8, seed=3, dead_band=0.3)
    assert len(runs_of([*far, *held, *rows("qa1", 0.7, seed=3)])) == 3
    assert "dead band 0.3" not in shown(runs_of([*far, *held]))["qa1"].title
    assert "dead band 0.3" in shown(runs_of([*far, *held]), DEAD_BAND)["qa1"].title


def test_full_attention_grows_faster_than_the_sample() -> None:
    seconds = [
        full_attention_seconds(babilong("qa1", length, 1)) for length in ("128k", "1M", "10M")
    ]
    one, two, three = (second or 0 for second in seconds)
    assert 0 < 30 * one < two
    assert 60 * two < three
    assert full_attention_seconds(babilong("qa1", "1M", 1, training=None)) is None
    assert full_attention_seconds(babilong("qa1", "1M", 1, backbone="smollm")) is None


def test_the_page(rmtscale: Command, tmp_path: Path) -> None:
    store = BabilongStore(tmp_path / "records.jsonl")
    made = [*rows("qa1", 0.98), *rows("qa2", 0.6, ("0k", "4k", "128k"))]
    for record in made:
        store.append(record)
    assert list(store.read().latest().values()) == made
    out = tmp_path / "out"
    done = rmtscale("reproduce", "babilong", "--records", str(store.path), "--out", str(out))
    assert done.code in (0, 1), done.err
    page = (out / "README.md").read_text(encoding="utf-8")
    begins, _ = page.split("\n\n")[1:3]
    assert begins.startswith("**Beside the published RMT, ours is ahead at 4 of 15 points, level ")
    assert " ".join(begins.split()).endswith(". No run yet: qa3, qa4, qa5.**")
    for task in ("qa3", "qa4", "qa5"):
        assert f"## {task}\n" in page
    assert page.count("Ours: no run yet.") == 3
    assert page.count("Band: no run yet.") == 5
    assert NOT_NOTED in page
    assert page.count("| no run yet |  |  |  |  |  |  |  |  |\n") == 10
    runs = (out / "runs.md").read_text(encoding="utf-8")
    assert runs.count("\nNo run yet.\n") == 3
    assert (out / "records.jsonl").read_text() == store.path.read_text()
    with (out / "babilong.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(made)
    assert {row["length"] for row in table if row["task"] == "qa1"} == set(LENGTHS)
    assert "compile_step" not in table[0]
    store.append(babilong("qa3", "4k", 0.5, compile_step=True))
    command = ("reproduce", "babilong", "--records", str(store.path), "--out", str(out), "--force")
    assert rmtscale(*command).code in (0, 1)
    with (out / "babilong.csv").open(encoding="utf-8") as file:
        noted = list(csv.DictReader(file))
    assert [row.pop("compile_step") for row in noted] == [""] * len(made) + ["1"]
    assert noted[:-1] == table
    for name in ("babilong.png", "babilong.svg"):
        assert (out / name).stat().st_size > 10_000


def test_nothing_is_made_of_nothing(rmtscale: Command, tmp_path: Path) -> None:
    refused = rmtscale(
        "reproduce", "babilong", "--records", str(tmp_path / "none.jsonl"), "--out", str(tmp_path)
    )
    assert refused.code == 2
    assert "expected a file that 'rmtscale evaluate --lengths' wrote" in refused.err


@pytest.mark.parametrize("folder", CHECKPOINTS, ids=lambda folder: folder.name)
def test_committed_checkpoints_are_those_that_were_evaluated(folder: Path) -> None:
    """Of the same weights, trained as the page says, and still read; the page has their means."""
    loaded = load_checkpoint(folder)
    weights = weights_digest(folder)
    own = [one for one in babilong_records().records if one.point.weights == weights]
    learned = parse_stories(loaded.settings.task_options["stories"])
    assert {one.point.stories for one in own} == set(learned)
    assert folder.name.split("-")[0] == ("all" if learned == QAS else learned[0])
    for one in own:
        assert one.training is not None
        assert one.training.steps == loaded.trained.all_steps
        assert one.training.parameters == loaded.trained.parameters
    # Seconds and steps are of the same training, or there are none.
    seconds = trained_as(loaded).seconds
    assert seconds == (None if loaded.trained.steps_before else loaded.trained.seconds)
    page = (folder.parent / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{folder.name}` |")]
    width = float(row.split(" | ")[2])
    assert width > 0

    def shown_at(length: str, dead_band: float) -> str:
        """The mean of its tasks, of the readings that stand."""
        runs = [run for run in runs_of(own) if run.dead_band == dead_band]
        records = [run.curve[length] for run in runs if length in run.curve]
        if not records:
            return "not read"
        assert len(records) == len(learned)
        digits = 1 if min(one.point.samples for one in records) > 100 else 0
        return f"{format_score(sum(one.accuracy for one in records) / len(records), digits)} %"

    alone, short, plain = (shown_at(length, 0.0) for length in ("0k", "4k", "128k"))
    assert row.endswith(f"| {alone} | {short} | {plain} | {shown_at('128k', width)} |")


def test_what_readme_and_study_say_of_the_averages() -> None:
    """Each average that a page of prose states is that of the records, beside the published one."""
    root = Path(__file__).parents[2]
    runs = runs_of(babilong_records().latest().values(), babilong_widths())
    best = {variant: shown(runs, variant) for variant in (PLAIN, DEAD_BAND)}
    theirs = {name: average(published()[name]) for name in ("rmt", "armt")}

    def ours(length: str, variant: str = PLAIN) -> str:
        return format_score(mean_accuracy(best[variant], length) or 0)

    def published_at(length: str, system: str = "rmt") -> str:
        return format_score(theirs[system][length])

    readme = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    assert f"has {ours('128k')} % at 128k and {ours('10M')} % at 10M tokens" in readme
    assert f"published RMT: {published_at('128k')} % and {published_at('10M')} %" in readme
    study = " ".join((root / "docs/study.md").read_text(encoding="utf-8").split())
    assert f"({ours('0k')} and {published_at('0k')} % there)" in study
    assert f"{ours('16k')} and {published_at('16k')} % at 16k" in study
    for at in ("128k", "1M", "10M"):
        assert f"{ours(at)} % and {published_at(at)} % at {at}" in study
    held = [
        format_score(mean_accuracy(best[DEAD_BAND], at) or 0, 2) for at in ("128k", "1M", "10M")
    ]
    armt = [published_at(at, "armt") for at in ("128k", "1M", "10M")]
    assert "the mean is {} % at 128k, {} at 1M and {} at 10M".format(*held) in study
    assert "beside {}, {} and {} of the published ARMT".format(*armt) in study
    below = [at for at in theirs["rmt"] if float(ours(at)) < float(published_at(at))]
    assert not below
    plain, band = standing(best[PLAIN], "rmt"), standing(best[DEAD_BAND], "armt")
    assert plain.points == 60
    assert f"RMT at {plain.behind} (qa1 at 16k), level at {plain.level}" in study
    assert f"ahead at {plain.ahead}; with the band it is behind the ARMT at {band.behind}" in study
    assert f"level at {band.level} and ahead at {band.ahead}" in study
    (later,) = [
        run
        for run in runs
        if (run.task, run.variant) == ("qa1", DEAD_BAND) and "10M" in run.curve
        if run.width_chosen == "by accuracy"
    ]
    worse = mean_accuracy({**best[DEAD_BAND], "qa1": later}, "10M")
    assert worse is not None
    assert f"in place of the better one the mean is {format_score(worse)} % at 10M" in study
