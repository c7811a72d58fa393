"""The processes that share an evaluation, as torchrun starts them: where each runs, what it reads.

All samples are read once, each by one of them; the first one puts them in order and writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rmtscale.study.training.device import find_device, own_device
from rmtscale.study.training.share import ALL, Share
from rmtscale.study.training.stopping import lost_processes


@contextmanager
def sharing_processes(device: str | None) -> Iterator[tuple[torch.device, Share]]:
    """Yields this process's device and share of the samples; alone it has all of them.

    Args:
        device: ``cpu`` or ``cuda``; None takes the GPU if there is one.

    Raises:
        BadInput: another device, or a GPU that is not there.
        CheckFailed: another process was killed.
    """
    found = find_device(device)
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield found, ALL
        return
    from accelerate import Accelerator

    with lost_processes():
        accelerator = Accelerator(cpu=found.type == "cpu")
        share = Share(accelerator.process_index, accelerator.num_processes)
        yield own_device(accelerator), share
        accelerator.wait_for_everyone()
        accelerator.end_training()
