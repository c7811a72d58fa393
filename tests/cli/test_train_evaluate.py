"""The commands train and evaluate, and reproduce where it trains: as a user gives them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Never

import pytest

from rmtscale.cli.main import COMMANDS
from rmtscale.cli.options import OLD_OPTIONS
from rmtscale.errors import BadInput, CheckFailed
from rmtscale.study.evaluation.evaluate import EvaluationSettings
from rmtscale.study.figures import side_by_side, training_runs
from rmtscale.study.figures.figure_11.page import TRAININGS
from rmtscale.study.figures.memory_tasks.plan import plan
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from tests.command_line import Command
from tests.forked import Started
from tests.tiny_training import write_background

TINY = """
--backbone gpt-neox-tiny --segment-size 32 --memory-tokens 2 --segments 2 --burn-in 4 --steps 16
--batch-size 8 --learning-rate 2e-3 --device cpu --set vocabulary_words=120 --set start_tokens=[16]
--set log_every=4 --set validate_every=8 --set stage_min_steps=4 --set stage_max_steps=4
--set validation_samples=8 --set warmup_steps=2
""".split()


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs a training leaves it for the others."""
    return tmp_path_factory.mktemp("once") / "run"


@pytest.fixture
def trained(rmtscale: Command, background: Path, tmp_path: Path, once: Path) -> Path:
    if once.exists():
        return Path(shutil.copytree(once, tmp_path / "run"))
    out = tmp_path / "run"
    given = ["--background", str(background), "--out", str(out)]
    done = rmtscale("train", "--task", "detect-memorize", *given, *TINY)
    assert done.code == 0, done.err
    assert "done; evaluate it with: rmtscale evaluate" in done.out
    assert done.err.count("\n") == 4
    assert "step 16 [4/4] 2 segments, burn-in 4: loss" in done.err
    shutil.copytree(out, once)
    return out


def test_train_then_evaluate(rmtscale: Command, trained: Path, background: Path) -> None:
    best = str(trained / "best")
    given = ["--background", str(background), "--samples", "20", "--batch-size", "10"]
    done = rmtscale("evaluate", best, "--segments", "1,2,4", *given, "--probe", "--device", "cpu")
    assert done.code == 0, done.err
    assert max(len(line.rstrip()) for line in done.out.splitlines()) <= 80
    assert "detect-memorize, trained on 2 segments of 32" in done.out
    assert "answers were" in done.out
    given = [*given, "--device", "cpu"]
    paired_noise = rmtscale("evaluate", best, "--segments", "1,2,4", *given, "--paired-noise")
    assert paired_noise.code == 0, paired_noise.err
    assert max(len(line.rstrip()) for line in paired_noise.out.splitlines()) <= 80
    assert "10 stories, each read with two noises" in paired_noise.out
    assert "lost in the end: " in paired_noise.out
    placed = ["--option", "placement=depth:0", "--out", str(trained / "other.jsonl")]
    # By the name that the option had before.
    other = rmtscale("evaluate", best, "--segments", "4", *given, "--twins", *placed)
    assert other.code == 2
    assert other.err.endswith("after the first segment: expected placement=start\n")
    again = rmtscale("evaluate", best, "--segments", "1,2,4", *given, "--format", "json")
    rows = json.loads(again.out)["rows"]
    assert [row["segments"] for row in rows] == [1, 2, 4]
    assert [row["tokens"] for row in rows] == [28, 56, 112]
    assert all(row["accuracy"] == row["correct"] / 20 for row in rows)
    assert again.err.count("(in the file already)") == 3


def test_a_probe_is_recorded_and_read_once(
    rmtscale: Command, trained: Path, background: Path, tmp_path: Path
) -> None:
    out = tmp_path / "records.jsonl"
    command = ["evaluate", str(trained / "best"), "--device", "cpu", "--out", str(out)]
    command += ["--background", str(background), "--option", "placement=start"]
    command += ["--samples", "10", "--batch-size", "5"]
    plain = rmtscale(*command, "--segments", "10,3")
    assert plain.code == 0, plain.err
    before = out.read_text()
    assert "probe" not in before
    probed = rmtscale(*command, "--segments", "10,3", "--probe")
    assert probed.code == 0, probed.err
    first = next(line for line in probed.out.splitlines() if line.startswith("Margins "))
    assert ("hold to segment 9" in first) or ("fall by segment 9" in first)
    assert out.read_text().startswith(before), "nothing recorded is lost"
    one, longest, again = EvaluationStore(out).read().records
    assert (one.probe, longest.probe) == (None, None)
    assert again.probe is not None
    assert replace(again, probe=None) == longest
    assert again.probe.held is not None
    assert again.probe.held.samples + again.probe.held.wrong_samples == 10
    assert [share.label for share in again.probe.after_segments] == ["1", "2", "4", "8", "9"]
    assert again.probe.after_segments[-1].correct == again.correct
    # What is in the file is not read again, and says the same.
    written = out.read_text()
    known = rmtscale(*command, "--segments", "10,3", "--probe")
    assert known.out == probed.out
    assert out.read_text() == written
    # Another longest length has no record yet, and is read once.
    longer = rmtscale(*command, "--segments", "3,11", "--probe", "--format", "json")
    assert longer.code == 0, longer.err
    (document,) = (text for text in longer.out.split("\n{") if "by_depth" in text)
    (row,) = json.loads(document if document.startswith("{") else "{" + document)["rows"]
    assert row["segments"] == 11
    assert [own["segments"] for own in row["margins"]] == [1, 2, 4, 8, 10]
    *_, last = made = EvaluationStore(out).read().records
    assert len(made) == 4
    assert last.point.segments == 11
    assert last.probe is not None


def test_a_dead_band(rmtscale: Command, trained: Path, background: Path) -> None:
    given = ["--background", str(background), "--samples", "10", "--segments", "2"]
    command = ["evaluate", str(trained / "best"), *given, "--device", "cpu"]
    assert "dead band" not in rmtscale(*command).out
    held = rmtscale(*command, "--dead-band", "0.3")
    assert held.code == 0, held.err
    assert "step 16), dead band 0.3" in " ".join(held.out.split())
    assert "in the file already" not in held.err
    again = rmtscale(*command, "--dead-band", "0.3", "--format", "json")
    assert json.loads(again.out)["rows"][0]["dead_band"] == 0.3
    assert again.err.count("(in the file already)") == 1
    for value in ("-1", "nan", "inf"):
        refused = rmtscale(*command, "--dead-band", value)
        assert refused.code == 2
        assert f"dead band {float(value)}: expected a number of 0 or more" in refused.err


def test_old_names_of_options_are_not_shown(rmtscale: Command) -> None:
    shown = "".join(rmtscale(command, "--help").out for command in COMMANDS)
    for old, new in OLD_OPTIONS.items():
        assert f"--{new} " in shown
        assert f"--{old} " not in shown


def test_going_on_and_beginning_anew(rmtscale: Command, trained: Path, background: Path) -> None:
    given = ["--background", str(background), "--out", str(trained), *TINY]
    command = ["train", "--task", "detect-memorize", *given]
    again = rmtscale(*command, "--format", "json")
    row = json.loads(again.out)["rows"][0]
    assert (row["steps"], row["finished"]) == (16, True)
    other = rmtscale(*command, "--seed", "1")
    assert other.code == 2
    assert "error: seed 1: the training in" in other.err
    forced = rmtscale(*command, "--seed", "1", "--force")
    assert forced.code == 0
    assert "step 4 [1/4]" in forced.err


def test_stopped_by_the_clock(rmtscale: Command, background: Path, tmp_path: Path) -> None:
    given = ["--background", str(background), "--out", str(tmp_path / "run"), *TINY]
    done = rmtscale("train", *given, "--max-seconds", "0.001")
    assert done.code == 0
    assert "stopped at step 4 of 16; the same command goes on" in done.out


def test_the_end_is_moved_to_the_time_there_is(
    rmtscale: Command, background: Path, tmp_path: Path
) -> None:
    given = ["--background", str(background), "--out", str(tmp_path / "run"), *TINY]
    command = ["train", *given, "--steps", "400"]
    # It has no speed yet: two intervals of 4 steps are run for that, and one more is left.
    done = rmtscale(*command, "--finish-within", "0.001", "--format", "json")
    row = json.loads(done.out)["rows"][0]
    assert (row["steps"], row["finished"]) == (12, True)


def test_nothing_is_there_to_be_finished(rmtscale: Command, tmp_path: Path) -> None:
    folder = tmp_path / "mistyped"
    done = rmtscale("train", "--out", str(folder), "--finish-within", "60")
    assert done.code == 2
    assert f"--finish-within 60 without a training in {str(folder)!r}: expected" in done.err
    assert not folder.exists()


def test_noise_that_is_not_here(
    rmtscale: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rmtscale.study.evaluation import evaluate

    seen = []

    def stop(_: Checkpoint, settings: EvaluationSettings, *__: Any, **___: Any) -> list[Never]:
        seen.append(settings.background)
        return []

    monkeypatch.setattr(evaluate, "evaluate", stop)
    monkeypatch.chdir(tmp_path)
    done = rmtscale("evaluate", str(trained / "best"), "--device", "cpu")
    assert seen == ["python"]
    assert "which it was trained with, is not here" in done.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train --out x --task forget", "task 'forget': expected one of memorize"),
        (
            "train --out x --set colour=1",
            "setting colour=1 of task 'memorize': expected one of",
        ),
        ("train --out x --set steps", "--set 'steps': expected NAME=VALUE"),
        ("train --out x --set steps=many", "steps: 'many' is not a whole number"),
        ("train --out x --recipe soup", "recipe 'soup': expected one of"),
        ("train --out x --option persons", "--option 'persons': expected NAME=VALUE"),
        ("train --out x --device tpu", "device 'tpu': expected cpu or cuda"),
        ("train --out x --burn-in 0", "burn-in '0': expected 1 or more"),
        ("train --out x --roll-in 0", "burn-in '0': expected 1 or more"),
        ("train --out x --set roll_in=[0]", "burn in 0: expected a whole number of 1 or more"),
        ("train --out x --cache y", "--cache 'y' with memorize: expected language-modeling or"),
        ("evaluate x", "checkpoint 'x': expected a folder with task.json"),
        ("evaluate x --segments 0", "segments '0': expected 1 or more"),
        ("reproduce figure-2 --quick", "--quick: figure-2 trains nothing"),
        ("reproduce figure-4 --seeds one", "seeds 'one': expected a list"),
        ("reproduce table-1 --seeds one", "seeds 'one': expected a list"),
        ("reproduce figure-4 --seeds 9 --runs x", "seed 9: expected 0, 1 or 2"),
        ("reproduce figure-4 --jobs 0", "jobs 0: expected a whole number of 1 or more"),
    ],
)
def test_bad_input(
    rmtscale: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = rmtscale(*line.split())
    assert done.code == 2, done.err
    assert words in done.err
    assert done.err.startswith("error: ")
    assert not (tmp_path / "x").exists()


def test_a_checkpoint_of_another_task(rmtscale: Command, trained: Path) -> None:
    done = rmtscale("evaluate", str(trained / "best"), "--task", "reasoning")
    assert done.code == 2
    assert "is of the task 'detect-memorize': expected reasoning" in done.err


def test_side_by_side(background: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes of their own: one is stopped by the clock, the other cannot begin."""
    wanted = plan(TRAININGS, quick=True, background=str(background)).recipes
    missing = replace(wanted["quick-no-curriculum-0"], background=str(tmp_path / "missing"))
    small = replace(wanted["quick-curriculum-0"], batch_size=4, log_every=4, validate_every=4)
    wanted = {"quick-curriculum-0": small, "quick-no-curriculum-0": missing}
    setup = training_runs.TrainingSetup(folder=tmp_path, device="cpu", jobs=2, max_seconds=0.5)
    assert training_runs.unfinished(wanted, tmp_path) == list(wanted)
    name = "quick-curriculum-0"
    command = training_runs.training_command(name, wanted[name], setup, 90.0)
    assert command[2:6] == ["rmtscale", "train", "--out", str(tmp_path / "quick-curriculum-0")]
    assert command[-2:] == ["--max-seconds", "90"]
    monkeypatch.setattr(side_by_side, "start", Started)
    with pytest.raises(CheckFailed, match="training of quick-no-curriculum-0 failed: see training"):
        training_runs.train_all(wanted, setup)
    log = (tmp_path / "quick-no-curriculum-0" / training_runs.LOG).read_text()
    assert "missing': expected python" in log
    log = (tmp_path / "quick-curriculum-0" / training_runs.LOG).read_text()
    assert "the same command goes on" in log
    assert training_runs.unfinished(wanted, tmp_path) == list(wanted)


def test_side_by_side_beside_another_training(background: Path, tmp_path: Path) -> None:
    wanted = plan(TRAININGS, quick=True, background=str(background)).recipes
    other = tmp_path / "quick-curriculum-0"
    other.mkdir()
    (other / "settings.json").write_text(MemoryTaskSettings(seed=5).to_json())
    setup = training_runs.TrainingSetup(folder=tmp_path, device="cpu", jobs=2, max_seconds=0.5)
    with pytest.raises(BadInput, match="expected the same, another --out"):
        training_runs.train_all(wanted, setup)


def test_a_finished_training_of_something_else(background: Path, tmp_path: Path) -> None:
    """It is not taken for the one that is asked for."""
    wanted = plan(TRAININGS, quick=True, background=str(background)).recipes
    done = tmp_path / "quick-curriculum-0"
    (done / "last").mkdir(parents=True)
    (done / "settings.json").write_text(
        replace(wanted["quick-curriculum-0"], learning_rate=1.0).to_json()
    )
    with pytest.raises(BadInput, match=r"learning rate 0\.002: the training in"):
        training_runs.train_all(wanted, training_runs.TrainingSetup(folder=tmp_path, device="cpu"))


def test_what_begins_with_another_waits_for_it(background: Path, tmp_path: Path) -> None:
    """Nothing is there to begin with: it is not started, and the call ends."""
    one = plan(TRAININGS, quick=True, background=str(background)).recipes["quick-curriculum-0"]
    wanted = {"later": replace(one, init_from=str(tmp_path / "first" / "last"))}
    setup = training_runs.TrainingSetup(folder=tmp_path, device="cpu", jobs=2)
    assert training_runs.train_all(wanted, setup) == ["later"]
    assert not (tmp_path / "later").exists()


TEXT = """
--task language-modeling --backbone gpt-neox-tiny --segment-size 20 --segments 2 --steps 8
--batch-size 8 --device cpu --set vocabulary_size=300 --set log_every=4 --set validate_every=8
--set stage_steps=4 --set validation_samples=8 --set warmup_steps=2
""".split()


def test_train_on_text(rmtscale: Command, background: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = ["--text", str(background), "--out", str(out), "--cache", str(tmp_path / "shared")]
    done = rmtscale("train", *TEXT, *given, "--max-seconds", "0", "--format", "json")
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)["rows"]
    assert (row["task"], row["steps"], row["finished"]) == ("language-modeling", 4, False)
    assert row["training_loss_nats"] > 0
    assert row["best_validation_loss_nats"] is None
    assert re.search(r"\[1/2\] 1 segment: loss \d\.\d{3} nats, ", done.err)
    # With nothing but the folder it goes on as it began.
    more = rmtscale("train", "--out", str(out), "--cache", str(tmp_path / "shared"))
    assert more.code == 0, more.err
    assert "done; evaluate it with: rmtscale evaluate" in more.out
    assert re.search(r"validation: 2 seg\. \d\.\d{3} nats", more.err)
    assert not (out / "text").exists()
    # And the end may be moved, without saying all of it again.
    later = rmtscale(
        "train", "--out", str(out), "--cache", str(tmp_path / "shared"), "--steps", "12"
    )
    assert later.code == 0, later.err
    assert "step 12 [2/2] 2 segments: loss" in later.err
    refused = rmtscale("train", "--out", str(out), "--learning-rate", "0.5")
    assert refused.code == 2
    assert "learning rate 0.5: the training in" in refused.err
    other = rmtscale("train", "--out", str(out), "--task", "lemma-proof")
    assert other.code == 2
    assert "task 'lemma-proof': the training in" in other.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--background python", "--background 'python' of task 'language-modeling': expected one"),
        ("--burn-in 4", "--burn-in '4' of task 'language-modeling'"),
        ("--memory-tokens 99", "memory tokens 99: expected 0 to 9, in a segment size of 20"),
        ("--block-tokens 17", "block tokens 17: expected 16 or less"),
        ("--backbone bert-tiny", "expected a decoder"),
        ("--set history_tokens=100000", "history tokens 100000"),
    ],
)
def test_bad_input_of_a_text_training(
    rmtscale: Command, background: Path, tmp_path: Path, line: str, words: str
) -> None:
    given = ["--text", str(background), "--out", str(tmp_path / "x")]
    done = rmtscale("train", *TEXT, *given, *line.split())
    assert done.code == 2, done.err
    assert words in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("option", ["--text python", "--history 5", "--cache here"])
def test_options_of_language_tasks_are_refused(
    rmtscale: Command, trained: Path, option: str
) -> None:
    done = rmtscale("evaluate", str(trained / "best"), "--device", "cpu", *option.split())
    assert done.code == 2
    name, value = option.split()
    assert f"{name} {value!r}: expected with a language task only, this checkpoint is" in done.err
