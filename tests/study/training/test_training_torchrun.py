"""A training does not depend on how many processes run it, nor on how many it goes on with."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtscale.cli.main import main
from rmtscale.errors import BadInput
from rmtscale.records.mapping import to_mapping
from rmtscale.study.training import learning
from rmtscale.study.training.curriculum import Draw
from rmtscale.study.training.layout import BEST, METRICS, SETTINGS, STATE
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.metrics import Interval, read_metrics
from rmtscale.study.training.prefetch import Batch
from rmtscale.study.training.share import Share
from rmtscale.study.training.train_state import read_header
from tests.command_line import Command
from tests.forked import as_ranks, launched
from tests.rmt.stand_in_capture import StandInCapture
from tests.study.training.exact_training import THOROUGH, train_exactly
from tests.study.training.on_ranks import command_on_one_rank
from tests.tiny_training import tiny_settings, write_background

STEPS, INTERVAL = 54, 18
SAME = 1e-6


def some_settings(background: Path, **more: Any) -> MemoryTaskSettings:
    """Uneven batches, a burn-in, and a validation of three batches."""
    values: dict[str, Any] = {
        "steps": STEPS,
        "log_every": INTERVAL,
        "validate_every": INTERVAL,
        "batch_size": 7,
        "stage_min_steps": INTERVAL,
        "stage_max_steps": INTERVAL,
        "validation_samples": 21,
        **more,
    }
    return tiny_settings(background, **values)


def assert_same(found: list[Interval], wanted: list[Interval]) -> None:
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, abs=SAME)
        for name in ("step", "stage", "accuracy", "current_stage_accuracy", "tokens", "validation"):
            assert getattr(ours, name) == getattr(theirs, name), name


def test_one_process_then_two_then_one(tmp_path: Path) -> None:
    chosen = some_settings(write_background(tmp_path / "text"))
    train(chosen, tmp_path / "one", device="cpu")
    begun = train(chosen, tmp_path / "mixed", device="cpu", max_seconds=0.0)
    assert begun.step == INTERVAL
    # A signal to one of two, in their first step, ends both behind that interval, with a state.
    words = ["train", "--out", str(tmp_path / "mixed"), "--device", "cpu"]
    assert launched(2, tmp_path, command_on_one_rank, words, 1, signal.SIGTERM) != 0
    first, second = ((tmp_path / f"rank-{rank}.log").read_text() for rank in range(2))
    # The agent may have told the first one too, which then says so.
    stopped = "stopped at step 36" in first
    assert stopped != (first.count("error: interrupted by SIGTERM") == 1), first
    assert "error" not in second, "one line on a host"
    ended = train(chosen, tmp_path / "mixed", device="cpu")
    assert (ended.finished, ended.step) == (True, STEPS)
    found, wanted = (read_metrics(tmp_path / name / METRICS) for name in ("mixed", "one"))
    assert [each.processes for each in found] == [1, 2, 1]
    assert_same(found, wanted)
    assert load_checkpoint(tmp_path / "mixed" / BEST).trained.step == STEPS


def test_a_process_that_is_killed_ends_all_of_them(tmp_path: Path) -> None:
    """Within a minute, with a state of one interval ago at most; the same command goes on."""
    chosen = some_settings(write_background(tmp_path / "text"), steps=18, log_every=3)
    train(chosen, tmp_path / "one", device="cpu")
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / SETTINGS).write_text(chosen.to_json())
    words = ["train", "--out", str(tmp_path / "killed"), "--device", "cpu"]
    began = time.monotonic()
    assert launched(2, tmp_path, command_on_one_rank, words, 11, signal.SIGKILL) != 0
    assert time.monotonic() - began < 60
    said = (tmp_path / "rank-0.log").read_text()
    # Or the agent, which ends the others, was sooner than what the first one waits for.
    gone = said.count("error: another process of this command has gone (")
    assert gone + said.count("error: interrupted by SIGTERM") == 1, said
    assert "Traceback" not in said
    assert read_header(tmp_path / "killed" / STATE).step == 9, "it was in its eleventh step"
    train(chosen, tmp_path / "killed", device="cpu")
    found, wanted = (read_metrics(tmp_path / name / METRICS) for name in ("killed", "one"))
    assert [each.processes for each in found] == [2, 2, 2, 1, 1, 1]
    assert_same(found, wanted)


def refused_on_one_rank(words: list[str]) -> None:
    try:
        main(words)
    except SystemExit as leaving:
        sys.stdout.flush()
        os._exit(leaving.code if isinstance(leaving.code, int) else 1)


def test_what_cannot_be_cut_is_said_once(tmp_path: Path) -> None:
    """By the first process, also where it is known when the others are on their way."""
    chosen = some_settings(write_background(tmp_path / "text"), backbone="gpt2-tiny")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / SETTINGS).write_text(chosen.to_json())
    words = ["train", "--out", str(tmp_path / "run"), "--device", "cpu", "--tp", "2"]
    assert launched(2, tmp_path, refused_on_one_rank, words) != 0
    first, second = ((tmp_path / f"rank-{rank}.log").read_text() for rank in range(2))
    assert first.endswith("is no matrix that tensor parallelism cuts here\n"), first
    assert first.count("\n") == 1
    assert first.startswith("error: tp 2: expected 1, ")
    assert second == "", second


def train_captured(folder: Path, chosen: MemoryTaskSettings) -> None:
    capture = StandInCapture()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "GraphCapture", lambda: capture)
        train_exactly(chosen, folder)
    assert capture.made > 2, "the stages, and two numbers of rows"
    os._exit(0)  # as in test_rmt_two_processes.py


def test_captured_steps_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    """Nothing that is captured is of several processes: they average what a replay leaves."""
    each = 10 if THOROUGH else 4
    chosen = some_settings(
        write_background(tmp_path / "text"),
        steps=5 * each,
        log_every=1,
        validate_every=each,
        stage_min_steps=each,
        stage_max_steps=each,
        learning_rate=5e-4,
    )
    train_exactly(chosen, tmp_path / "one")
    as_ranks(2, tmp_path, train_captured, tmp_path / "two", chosen)
    found = read_metrics(tmp_path / "two" / METRICS)
    assert [each.processes for each in found] == [2] * chosen.steps
    assert_same(found, read_metrics(tmp_path / "one" / METRICS))
    assert found[-1].stage_name.endswith("burn-in 4")
    assert len({each.loss for each in found}) == chosen.steps


def train_anew(folder: Path, background: Path) -> None:
    train(tiny_settings(background, steps=4), folder, device="cpu", anew=True)
    os._exit(0)  # as in test_rmt_two_processes.py


def test_two_processes_begin_anew(tmp_path: Path) -> None:
    """One of them forgets what is there, before any looks."""
    background = write_background(tmp_path / "text")
    folder = tmp_path / "run"
    train(tiny_settings(background, steps=8, seed=5), folder, device="cpu")
    as_ranks(2, tmp_path, train_anew, folder, background)
    train(tiny_settings(background, steps=4), tmp_path / "one", device="cpu")
    found, wanted = (read_metrics(path / METRICS) for path in (folder, tmp_path / "one"))
    assert [each.processes for each in found] == [2]
    assert_same(found, wanted)
    assert load_checkpoint(folder / BEST).settings.seed == 0


@settings(max_examples=50, derandomize=True)
@given(st.integers(1, 9), st.integers(0, 20), st.integers(0, 99))
def test_parts_of_a_batch_weighted_are_the_whole(several: int, more: int, seed: int) -> None:
    """Every row once, and the mean of the processes' weighted means is that over all labels."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(several + more, 5, generator=generator, dtype=torch.float64)
    scored = torch.rand(values.shape, generator=generator) < 0.5
    scored[0, 0] = True

    def count(batch: Batch) -> int:
        return int(batch.inputs[1].sum())

    whole = Batch(3, Draw(0, 0, 5), (values, scored), 0, int(scored.sum()))
    parts = [whole.part(Share(rank, several), count) for rank in range(several)]
    assert torch.equal(torch.cat([part.inputs[0] for part in parts]), values)
    assert {part.rows for part in parts} == {len(values)}
    sizes = [len(part.inputs[0]) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    total = 0.0
    for part in parts:
        chosen = part.inputs[0][part.inputs[1]]
        total += part.weight * float(chosen.mean() if len(chosen) else 0.0)
    assert total / several == pytest.approx(float(values[scored].mean()), abs=1e-12)


def test_fewer_rows_than_processes_are_refused() -> None:
    with pytest.raises(BadInput, match="batch size 2 on 3 processes: expected 3 or more"):
        Share(0, 3).rows(2)


def test_what_is_not_shared_out_is_done_by_the_first_process_alone(
    monkeypatch: pytest.MonkeyPatch, rmtscale: Command
) -> None:
    for rank, speaks in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        for command in ("dead-band", "profile", "devices", "report"):
            done = rmtscale(command, "--help")
            assert (done.code, bool(done.out)) == (0, speaks), (rank, command)


def test_what_is_wrong_is_said_once_on_each_host(
    monkeypatch: pytest.MonkeyPatch, rmtscale: Command, tmp_path: Path
) -> None:
    """The others wait, until torchrun ends them for the first one's sake."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    for local in ("0", "1"):
        monkeypatch.setenv("RANK", local)
        monkeypatch.setenv("LOCAL_RANK", local)
        done = rmtscale("train", "--batch-size", "0", "--out", str(tmp_path / "out"))
        assert (done.code, done.err.count("\n")) == (2, 1)
    assert waited == [20.0]

    def ended(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", ended)
    assert rmtscale("train", "--batch-size", "0", "--out", str(tmp_path / "out")) == (2, "", "")


def test_older_metrics_say_one_process(tmp_path: Path) -> None:
    chosen = tiny_settings(write_background(tmp_path / "text"), steps=4)
    train(chosen, tmp_path / "run", device="cpu")
    (interval,) = read_metrics(tmp_path / "run" / METRICS)
    older = dict(to_mapping(interval))
    del older["processes"]
    (tmp_path / "older.jsonl").write_text(json.dumps(older) + "\n")
    assert read_metrics(tmp_path / "older.jsonl") == [interval]
