"""Two processes under torchrun train one model, each on batches of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rmtscale.study.training.layout import BEST, METRICS
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.metrics import read_metrics
from tests.tiny_training import tiny_settings, write_background

# A wrapper that outlives its process group hangs now and then: see ``_Run._end``.
LAUNCHED = """
import gc
import torch.distributed
from torch.nn.parallel import DistributedDataParallel

destroy = torch.distributed.destroy_process_group

def destroyed(*given):
    alive = sum(type(each) is DistributedDataParallel for each in gc.get_objects())
    print(f"destroyed with {alive} wrappers")
    destroy(*given)

torch.distributed.destroy_process_group = destroyed

from rmtscale.cli.main import main

main()
"""


def test_two_processes(tmp_path: Path) -> None:
    background = write_background(tmp_path / "text")
    settings = tiny_settings(background, steps=8, batch_size=8, stage_max_steps=4)
    given = [
        f"--set={name}={value}"
        for name, value in {
            "vocabulary_words": 120,
            "start_tokens": [16],
            "warmup_steps": 5,
            "stage_min_steps": 4,
            "stage_max_steps": 4,
            "burn_in_max_steps": 100,
            "ema_decay": 0.9,
            "log_every": 4,
            "validate_every": 8,
            "validation_samples": 16,
            "validation_segments": [2, 4],
            "precision": "fp32",
            "short_batch": 1,
        }.items()
    ]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = tmp_path / "launched.py"
    script.write_text(LAUNCHED)
    command = [str(script), "train", "--background", str(background), "--segment-size", "32"]
    command += ["--backbone", "gpt-neox-tiny", "--memory-tokens", "2", "--segments", "2"]
    command += ["--burn-in", "4", "--steps", "8", "--batch-size", "8", "--learning-rate", "2e-3"]
    done = subprocess.run(
        [*launch, *command, *given, "--device", "cpu", "--out", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("rmtscale evaluate") == 1
    assert done.stdout.count("destroyed with 0 wrappers") == 2
    two = read_metrics(tmp_path / "two" / METRICS)
    # Going on with one process: what two wrote is an ordinary training, already finished.
    result = train(settings, tmp_path / "two", device="cpu")
    assert (result.finished, result.step) == (True, 8)
    train(settings, tmp_path / "one", device="cpu")
    one = read_metrics(tmp_path / "one" / METRICS)
    assert [each.tokens for each in two] == [2 * each.tokens for each in one]
    assert two[0].loss != one[0].loss
    assert two[0].loss == pytest.approx(one[0].loss, abs=0.3)
    assert load_checkpoint(tmp_path / "two" / BEST).trained.step == 8
