"""Two processes under torchrun have the gradients of one process with both halves of the batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from tests.rmt.tiny_models import tokens
from tests.rmt.torchrun_worker import build

WORKER = Path(__file__).with_name("torchrun_worker.py")


WHOLE, TRUNCATED = 0, 2


def test_two_processes_equal_one(tmp_path: Path) -> None:
    out = tmp_path / "grads.pt"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, str(WORKER), str(out), str(WHOLE), str(TRUNCATED)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    together = torch.load(out, weights_only=True)
    assert {depth for depth, _ in together} == {WHOLE, TRUNCATED}
    assert len(together) == 4
    for (depth, _), found in together.items():
        model, ids = build(depth or None), tokens(4, 13)
        for half in (ids[:2], ids[2:]):
            (model(half, labels=half).loss / 2).backward()
        for name, parameter in model.named_parameters():
            assert torch.allclose(found[name], parameter.grad, rtol=0, atol=1e-12), (depth, name)
