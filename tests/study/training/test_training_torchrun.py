"""A training does not depend on how many processes run it, nor on how many it goes on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.records.mapping import to_mapping
from rmtscale.study.training import loop
from rmtscale.study.training.curriculum import Draw
from rmtscale.study.training.kinds import make_objective
from rmtscale.study.training.layout import BEST, METRICS
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.metrics import Interval, read_metrics
from rmtscale.study.training.objective import Objective
from rmtscale.study.training.prefetch import Batch
from rmtscale.study.training.share import Share
from tests.command_line import Command
from tests.forked import as_ranks
from tests.rmt.stand_in_capture import StandInCapture
from tests.tiny_training import tiny_settings, write_background

STEPS, INTERVAL = 54, 18
SAME = 1e-6

LAUNCHED = """
import os, signal
from rmtscale.cli.main import main
from rmtscale.study.training.prefetch import Prefetcher

made = Prefetcher.next

def ended(self):
    Prefetcher.next = made
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return made(self)

Prefetcher.next = ended
main()
"""


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


def torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = folder / "launched.py"
    script.write_text(LAUNCHED)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.run(
        [*launch, str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


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
    done = torchrun(tmp_path, "train", "--out", str(tmp_path / "mixed"), "--device", "cpu")
    assert done.returncode != 0
    assert done.stderr.count("error: interrupted by SIGTERM") == 1, done.stderr[-2000:]
    ended = train(chosen, tmp_path / "mixed", device="cpu")
    assert (ended.finished, ended.step) == (True, STEPS)
    found, wanted = (read_metrics(tmp_path / name / METRICS) for name in ("mixed", "one"))
    assert [each.processes for each in found] == [1, 2, 1]
    assert_same(found, wanted)
    assert load_checkpoint(tmp_path / "mixed" / BEST).trained.step == STEPS


def train_exactly(chosen: MemoryTaskSettings, folder: Path) -> None:
    """In float64, but for losses: single steps in single precision drift apart by 1e-6."""

    def made(chosen: Any, cache: Path) -> Objective:
        objective = make_objective(chosen, cache)
        objective.learner.double()
        return objective

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_objective", made)
        train(chosen, folder, device="cpu")


def train_captured(folder: Path, chosen: MemoryTaskSettings) -> None:
    capture = StandInCapture()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "GraphCapture", lambda: capture)
        train_exactly(chosen, folder)
    assert capture.made > 2, "the stages, and two numbers of rows"
    os._exit(0)  # as in test_rmt_two_processes.py


def test_captured_steps_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    """Nothing that is captured is of several processes: they average what a replay leaves."""
    chosen = some_settings(write_background(tmp_path / "text"), log_every=1, learning_rate=5e-4)
    train_exactly(chosen, tmp_path / "one")
    as_ranks(2, tmp_path, train_captured, tmp_path / "two", chosen)
    found = read_metrics(tmp_path / "two" / METRICS)
    assert [each.processes for each in found] == [2] * STEPS
    assert_same(found, read_metrics(tmp_path / "one" / METRICS))
    assert len({each.loss for each in found}) == STEPS


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
        for command in ("evaluate", "profile", "devices", "report"):
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
