"""A training in a process of its own, to be killed: ``train_worker.py FOLDER BACKGROUND``.

A state is kept at every interval.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import torch

from rmtscale.study.training.loop import train
from tests.tiny_training import tiny_settings


def main(folder: str, background: str) -> None:
    torch.set_num_threads(1)
    train(tiny_settings(Path(background)), Path(folder), device="cpu", save_seconds=0.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
