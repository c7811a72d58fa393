"""The instruments: memory meter and sampler, clocks, kernels, ceiling, the driver."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from rmtscale.profiler.measure import attention_kernel, matmul_flops_per_second
from rmtscale.profiler.memory import CudaMeter, ResidentMeter, Sampler
from rmtscale.profiler.prediction import predict, this_machine
from rmtscale.profiler.spawn import measure_in_child
from rmtscale.profiler.timing import FEWEST, time_steps
from rmtscale.records.nvml import Gpu, NoGpu, open_gpu
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol
from rmtscale.specs.devices import find_device

SIZE = 256 * 2**20


def use_memory() -> None:
    block = bytearray(SIZE)
    time.sleep(0.05)
    del block


def test_the_peak_of_a_step_is_seen() -> None:
    memory = ResidentMeter().measure(use_memory)
    assert memory.baseline_resident_bytes is not None
    assert memory.peak_resident_bytes is not None
    assert memory.peak_resident_bytes - memory.baseline_resident_bytes == pytest.approx(
        SIZE, rel=0.02
    )


def test_the_peak_is_the_steps_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was allocated before and freed does not count."""
    meter = ResidentMeter()
    use_memory()
    memory = meter.measure(lambda: None)
    assert memory.peak_resident_bytes is not None
    assert memory.baseline_resident_bytes is not None
    assert memory.peak_resident_bytes - memory.baseline_resident_bytes < SIZE / 20


def test_the_sampler_costs_no_memory() -> None:
    peaks = []
    for sample in (False, True, False, True):
        memory = ResidentMeter(sample=sample).measure(use_memory)
        assert memory.resident_source == "kernel"
        assert memory.peak_resident_bytes is not None
        peaks.append(memory.peak_resident_bytes)
    assert max(peaks) / min(peaks) < 1.001


def test_without_a_high_water_mark_it_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rmtscale.profiler.memory.reset_high_water", lambda: False)
    memory = ResidentMeter(sample=False).measure(use_memory)
    assert memory.resident_source == "sampled"
    assert memory.peak_resident_bytes is not None
    assert memory.baseline_resident_bytes is not None
    assert memory.peak_resident_bytes - memory.baseline_resident_bytes == pytest.approx(
        SIZE, rel=0.05
    )


def test_sampler() -> None:
    values = iter([3, None, 9] + [4] * 1000)
    with Sampler(lambda: next(values)) as sampler:
        time.sleep(0.05)
    assert sampler.largest == 9
    with Sampler(lambda: None, threaded=False) as sampler:
        pass
    assert sampler.largest is None


def test_timing_counts_steps() -> None:
    calls: list[float] = []
    event, wall, _ = time_steps(lambda: calls.append(0), Protocol(repeats=7), cuda=False)
    assert event is None
    assert wall is not None
    assert len(wall.seconds) == len(calls) == 7
    slow = Protocol(repeats=9, timing_seconds=0.001)
    _, wall, _ = time_steps(lambda: time.sleep(0.01), slow, cuda=False)
    assert wall is not None
    assert len(wall.seconds) == FEWEST
    assert wall.median_seconds >= 0.01


def test_kernels() -> None:
    q = torch.randn(1, 2, 16, 8)
    assert attention_kernel(lambda: F.scaled_dot_product_attention(q, q, q)) == "flash"
    assert attention_kernel(lambda: q + q) is None
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert attention_kernel(lambda: F.scaled_dot_product_attention(q, q, q)) == "math"


def test_ceiling() -> None:
    assert matmul_flops_per_second(torch.float32, "cpu") > 1e8


def test_no_driver_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(NoGpu, match="CUDA_VISIBLE_DEVICES hides every GPU"):
        open_gpu()
    assert this_machine("cuda").why_unknown == "CUDA_VISIBLE_DEVICES hides every GPU"


class FakeLibrary:
    """A driver's library that knows some things and refuses others."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __getattr__(self, name: str) -> Callable[..., Any]:
        known = {
            "nvmlDeviceGetName": b"NVIDIA H200",
            "nvmlSystemGetDriverVersion": "580.1",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=100, used=40),
            "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=1, usedGpuMemory=7)],
            "nvmlDeviceGetTotalEnergyConsumption": 2500,
            "nvmlDeviceGetPowerUsage": 350_000,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0x4 | 0x20,
        }

        def answer(*_: object) -> Any:
            if name not in known:
                raise FakeLibrary.NVMLError(name)
            return known[name]

        return answer


def test_what_the_driver_says_and_what_it_does_not() -> None:
    gpu = Gpu(FakeLibrary(), None)
    assert (gpu.name, gpu.driver, gpu.memory_bytes) == ("NVIDIA H200", "580.1", 100)
    assert gpu.used_bytes() == 40
    assert gpu.process_bytes() is None  # known by another number
    assert gpu.energy_joules() == 2.5
    state = gpu.state()
    assert state.power_watts == 350
    assert state.throttle_reasons == ("power cap", "software thermal")
    assert state.sm_clock_mhz is state.temperature_celsius is None


def test_no_device_is_taken_for_another(
    monkeypatch: pytest.MonkeyPatch, point: Callable[..., Point]
) -> None:
    def open_as(name: str) -> Any:
        return SimpleNamespace(name=name, memory_bytes=10**9)

    monkeypatch.setattr("rmtscale.profiler.prediction.open_gpu", lambda: open_as("NVIDIA H200"))
    assert this_machine("cuda").device == find_device("h200")
    monkeypatch.setattr("rmtscale.profiler.prediction.open_gpu", lambda: open_as("NVIDIA H300"))
    machine = this_machine("cuda")
    assert machine.device is None
    assert machine.why_unknown == "no peaks of NVIDIA H300 are known"
    assert predict(point()).seconds is None
    assert predict(point(precision="bf16"), find_device("v100-16gb")).seconds is None


@pytest.mark.gpu
@pytest.mark.parametrize("sample", [True, False])
def test_on_a_gpu(sample: bool, point: Callable[..., Point]) -> None:
    """Peaks by torch and the driver, both clocks, the kernel, the energy, and the cap."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    one = point(device="cuda", tokens=2048, mode="train", optimizer="adamw", precision="bf16")
    protocol = Protocol(repeats=20)
    found = measure_in_child(one, protocol, sample=sample)
    assert (found.outcome, found.error) == ("ok", None)
    assert found.event_time is not None
    assert found.wall_time is not None
    assert found.event_time.median_seconds <= found.wall_time.median_seconds * 1.01
    memory = found.memory
    assert memory is not None
    assert memory.peak_allocated_bytes is not None
    assert memory.peak_reserved_bytes is not None
    assert memory.baseline_allocated_bytes is not None
    assert (
        0
        < memory.baseline_allocated_bytes
        < memory.peak_allocated_bytes
        <= memory.peak_reserved_bytes
    )
    assert found.attention_kernel in ("flash", "efficient", "cudnn")
    other = measure_in_child(one, protocol, sample=not sample).memory
    assert other is not None
    assert other.peak_allocated_bytes == pytest.approx(memory.peak_allocated_bytes, rel=1e-3)


@pytest.mark.gpu
def test_a_cap_on_a_gpu(point: Callable[..., Point]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    one = point(device="cuda", tokens=8192, attention="eager", memory_limit_bytes=2 * 2**30)
    assert measure_in_child(one, Protocol()).outcome == "oom"


class FakeCuda:
    """Stands in for ``torch.cuda``: numbers that a step moves."""

    def __init__(self) -> None:
        self.allocated, self.peak, self.said = 100, 999, list[str]()

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def reset() -> None:
            self.said.append("reset")
            self.peak = self.allocated

        fakes: dict[str, Any] = {
            "empty_cache": lambda: self.said.append("empty"),
            "synchronize": lambda: self.said.append("synchronize"),
            "reset_peak_memory_stats": reset,
            "memory_allocated": lambda: self.allocated,
            "max_memory_allocated": lambda: self.peak,
            "max_memory_reserved": lambda: self.peak + 10,
            "Event": FakeEvent,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    def step(self) -> None:
        self.said.append("step")
        self.peak = max(self.peak, 500)


class FakeEvent:
    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, other: FakeEvent) -> float:
        return 1000 * (other.at - self.at)


def test_the_protocol_of_a_gpus_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty, synchronize, reset, baseline, one step, synchronize, peaks; never mixed."""
    cuda = FakeCuda()
    cuda.patch(monkeypatch)
    memory = CudaMeter(None).measure(cuda.step)
    assert cuda.said == ["empty", "synchronize", "reset", "step", "synchronize"]
    assert (memory.baseline_allocated_bytes, memory.peak_allocated_bytes) == (100, 500)
    assert memory.peak_reserved_bytes == 510
    process = (memory.process_bytes, memory.process_source, memory.non_torch_bytes)
    assert process == (None, None, None)


@pytest.mark.parametrize(
    ("own", "source", "process"), [(900, "process", 900), (None, "device", 700)]
)
def test_process_bytes_of_a_gpu(
    own: int | None, source: str, process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda()
    cuda.patch(monkeypatch)
    used = iter([1000] + [1700] * 1000)
    gpu: Any = SimpleNamespace(process_bytes=lambda: own, used_bytes=lambda: next(used))
    memory = CudaMeter(gpu, sample=False).measure(cuda.step)
    assert (memory.process_bytes, memory.process_source) == (process, source)
    assert memory.non_torch_bytes == process - 510


def test_both_clocks_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().patch(monkeypatch)
    midway: list[int] = []
    event, wall, host = time_steps(
        lambda: time.sleep(0.01), Protocol(repeats=4), cuda=True, midway=lambda: midway.append(0)
    )
    assert host is not None
    assert len(host.seconds) == 4
    assert midway == [0]
    assert event is not None
    assert wall is not None
    assert len(event.seconds) == len(wall.seconds) == 4
    assert 0.01 <= event.median_seconds <= wall.median_seconds < 0.1
