"""Peak memory of one step: torch's and the driver's numbers on a GPU, resident bytes on a CPU.

On a GPU the peaks of torch's allocator are exact, and process bytes are the driver's. On a CPU
there is no allocator to ask: what counts is the resident memory of the child, whose high-water
mark Linux keeps and lets a process reset. Before the baseline the C library is told to give back
what was freed, as ``empty_cache`` does on a GPU.
"""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rmtscale.records.measurement import Memory
from rmtscale.records.nvml import Gpu

Step = Callable[[], None]
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")

INTERVAL_SECONDS = 0.005


class MemoryMeter(Protocol):
    """Made before the model is built; measures one step after the warm-up."""

    def measure(self, step: Step) -> Memory: ...


class CudaMeter:
    """Allocated, reserved and process bytes."""

    def __init__(self, gpu: Gpu | None, *, sample: bool = True) -> None:
        self._gpu, self._sample = gpu, sample
        # Before the first CUDA call, so that the context is counted to the process.
        self._used_before = None if gpu is None else gpu.used_bytes()

    def measure(self, step: Step) -> Memory:
        import torch

        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        baseline = torch.cuda.memory_allocated()
        by_process = self._gpu is not None and self._gpu.process_bytes() is not None
        with Sampler(self._process_bytes, threaded=self._sample) as sampler:
            step()
            torch.cuda.synchronize()
        reserved, process = torch.cuda.max_memory_reserved(), sampler.largest
        return Memory(
            baseline_allocated_bytes=baseline,
            peak_allocated_bytes=torch.cuda.max_memory_allocated(),
            peak_reserved_bytes=reserved,
            process_bytes=process,
            process_source=None if process is None else "process" if by_process else "device",
            non_torch_bytes=None if process is None else process - reserved,
        )

    def _process_bytes(self) -> int | None:
        if self._gpu is None:
            return None
        of_process = self._gpu.process_bytes()
        if of_process is not None:
            return of_process
        used = self._gpu.used_bytes()
        if used is None or self._used_before is None:
            return None
        return used - self._used_before


class ResidentMeter:
    """Resident bytes of this process; made when the libraries are loaded."""

    def __init__(self, *, sample: bool = True) -> None:
        self._sample = sample
        gc.collect()
        give_back()
        self._start = resident_bytes()

    def measure(self, step: Step) -> Memory:
        gc.collect()
        give_back()
        baseline = resident_bytes()
        exact = reset_high_water()
        with Sampler(resident_bytes, threaded=self._sample or not exact) as sampler:
            step()
        peak = high_water_bytes() if exact else sampler.largest
        return Memory(
            start_resident_bytes=self._start,
            baseline_resident_bytes=baseline,
            peak_resident_bytes=peak,
            resident_source="kernel" if exact else "sampled",
        )


def give_back() -> None:
    """Gives freed memory back to the system, where the C library knows how (glibc)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def reset_high_water() -> bool:
    """Sets the peak to what is resident now; False where the system has no such thing."""
    try:
        _CLEAR_REFS.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def resident_bytes() -> int:
    return _status("VmRSS:") or _psutil_resident_bytes()


def high_water_bytes() -> int | None:
    return _status("VmHWM:")


def data_bytes() -> int | None:
    """Returns the private memory that the process may write to, as ``RLIMIT_DATA`` limits it."""
    return _status("VmData:")


def _status(field: str) -> int | None:
    try:
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _psutil_resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


class Sampler:
    """``with Sampler(read) as sampler: step()``, then ``sampler.largest``.

    Reads once before, once after and every few milliseconds between; None is no reading.
    """

    def __init__(self, read: Callable[[], int | None], *, threaded: bool = True) -> None:
        self.largest: int | None = None
        self._read = read
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True) if threaded else None

    def _take(self) -> None:
        value = self._read()
        if value is not None:
            self.largest = value if self.largest is None else max(self.largest, value)

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_SECONDS):
            self._take()

    def __enter__(self) -> Sampler:
        self._take()
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if kind is None:
            self._take()
