"""The peak of memory while a checkpoint reads."""

from __future__ import annotations

import torch

from rmtscale.profiler.memory import CudaMeter, MemoryMeter, ResidentMeter
from rmtscale.profiler.nvml import Gpu, NoGpu, open_gpu


def open_meter(device: torch.device) -> tuple[MemoryMeter, Gpu | None]:
    """What measures on a device, and its GPU where the driver knows one."""
    if device.type != "cuda":
        return ResidentMeter(), None
    try:
        gpu: Gpu | None = open_gpu()
    except NoGpu:
        gpu = None
    return CudaMeter(gpu), gpu
