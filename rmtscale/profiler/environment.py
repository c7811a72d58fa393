"""The environment of a measurement: the host's, torch's and the driver's part in one."""

from __future__ import annotations

from dataclasses import replace

from rmtscale.records.environment import Environment, GpuState, host_environment
from rmtscale.records.nvml import Gpu


def measured_environment(
    gpu: Gpu | None,
    before: GpuState | None = None,
    after: GpuState | None = None,
    during: GpuState | None = None,
) -> Environment:
    """Describes a process that has loaded torch; ``gpu`` None: the measurement is not on a GPU."""
    import torch

    here = replace(host_environment(), torch_threads=torch.get_num_threads())
    if gpu is None:
        return here
    return replace(
        here,
        cuda=torch.version.cuda,
        driver=gpu.driver,
        gpu=gpu.name,
        gpu_memory_bytes=gpu.memory_bytes,
        before=before,
        after=after,
        during=during,
    )
