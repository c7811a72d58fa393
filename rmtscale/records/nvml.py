"""Readings of the NVIDIA driver: memory of a process, energy, clocks, what slows the GPU down.

Only read, never set. Without a driver, or where it does not know something, the answer is None
and the reason is kept: nothing here fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from rmtscale.records.environment import GpuState

T = TypeVar("T")

_THROTTLE = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal",
    0x40: "hardware thermal",
    0x80: "power brake",
    0x100: "display clocks",
}


class NoGpu(Exception):
    """Raised where there is no GPU to ask; the message says why."""


class Gpu:
    """One GPU, by the driver's library."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library, self._handle = library, handle
        self.name = self._text(library.nvmlDeviceGetName, handle) or "NVIDIA GPU"
        self.driver = self._text(library.nvmlSystemGetDriverVersion)
        memory = self._ask(library.nvmlDeviceGetMemoryInfo, handle)
        self.memory_bytes = None if memory is None else int(memory.total)

    def used_bytes(self) -> int | None:
        """Returns the memory that all processes use on the device."""
        memory = self._ask(self._library.nvmlDeviceGetMemoryInfo, self._handle)
        return None if memory is None else int(memory.used)

    def process_bytes(self) -> int | None:
        """Returns this process's memory; None where the driver does not know it (containers)."""
        running = self._ask(self._library.nvmlDeviceGetComputeRunningProcesses, self._handle)
        for process in running or ():
            if process.pid == os.getpid() and process.usedGpuMemory is not None:
                return int(process.usedGpuMemory)
        return None

    def energy_joules(self) -> float | None:
        """Returns the energy since the driver was loaded; GPUs since Volta have it."""
        millijoules = self._ask(self._library.nvmlDeviceGetTotalEnergyConsumption, self._handle)
        return None if millijoules is None else millijoules / 1000

    def state(self) -> GpuState:
        """Reads clocks and limits now."""
        library, handle = self._library, self._handle
        milliwatts = self._ask(library.nvmlDeviceGetPowerUsage, handle)
        return GpuState(
            sm_clock_mhz=self._ask(library.nvmlDeviceGetClockInfo, handle, library.NVML_CLOCK_SM),
            memory_clock_mhz=self._ask(
                library.nvmlDeviceGetClockInfo, handle, library.NVML_CLOCK_MEM
            ),
            temperature_celsius=self._ask(
                library.nvmlDeviceGetTemperature, handle, library.NVML_TEMPERATURE_GPU
            ),
            power_watts=None if milliwatts is None else milliwatts / 1000,
            throttle_reasons=self._throttle(),
        )

    def _throttle(self) -> tuple[str, ...] | None:
        bits = self._ask(self._library.nvmlDeviceGetCurrentClocksThrottleReasons, self._handle)
        if bits is None:
            return None
        return tuple(name for bit, name in _THROTTLE.items() if bits & bit)

    def _ask(self, question: Callable[..., T], *arguments: Any) -> T | None:
        try:
            return question(*arguments)
        except self._library.NVMLError:
            return None

    def _text(self, question: Callable[..., Any], *arguments: Any) -> str | None:
        answer = self._ask(question, *arguments)
        return answer.decode() if isinstance(answer, bytes) else answer


def open_gpu(number: int = 0) -> Gpu:
    """Returns the GPU that CUDA calls device ``number`` (in the order of the bus).

    Raises:
        NoGpu: no library, no driver, no such GPU, or none made visible.
    """
    try:
        import pynvml
    except ImportError as error:
        raise NoGpu("nvidia-ml-py is not installed") from error
    every = ",".join(str(place) for place in range(number + 1))
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", every)
    places = [part.strip() for part in shown.split(",")]
    if places[0] in ("", "-1"):
        raise NoGpu("CUDA_VISIBLE_DEVICES hides every GPU")
    if number >= len(places):
        raise NoGpu(f"CUDA_VISIBLE_DEVICES shows {len(places)} GPUs, expected {number + 1}")
    visible = places[number]
    try:
        pynvml.nvmlInit()
        if visible.isdigit():
            handle = pynvml.nvmlDeviceGetHandleByIndex(int(visible))
        else:
            handle = pynvml.nvmlDeviceGetHandleByUUID(visible)
    except pynvml.NVMLError as error:
        raise NoGpu(f"no NVIDIA driver ({error})") from error
    return Gpu(pynvml, handle)
