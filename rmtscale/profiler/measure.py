"""One point measured in this process, stage by stage; an out-of-memory is an answer.

build -> warm-up -> memory (one step) -> timing (a pass of its own) -> ceiling. The attention
kernel is looked up during the first warm-up step. What cannot be found is None, and why is kept.
"""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any

from rmtscale.errors import reason_of
from rmtscale.profiler.environment import measured_environment
from rmtscale.profiler.host_loop import drifted, loop_seconds
from rmtscale.profiler.memory import CudaMeter, MemoryMeter, ResidentMeter, data_bytes
from rmtscale.profiler.ranks import Place, Ranks
from rmtscale.profiler.timing import time_steps
from rmtscale.records.measurement import HostSpeed, Measurement, Outcome, Samples
from rmtscale.records.nvml import Gpu, NoGpu, open_gpu
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol
from rmtscale.specs.layout import Layout
from rmtscale.specs.precision import find_precision

SHORTEST_ENERGY_SECONDS = 0.5
"""The driver's energy counter moves in steps of up to 0.1 s."""
_CPU_OUT_OF_MEMORY = ("can't allocate memory", "bad_alloc", "Cannot allocate memory")

_KERNELS = {
    "aten::_scaled_dot_product_flash_attention": "flash",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "flash",
    "aten::_scaled_dot_product_efficient_attention": "efficient",
    "aten::_scaled_dot_product_cudnn_attention": "cudnn",
    "aten::_scaled_dot_product_attention_math": "math",
}
"""Operators of torch, and the kernels behind them."""
CUDA_SIZE, CPU_SIZE = 8192, 1024
"""Sides of the matrices whose product is the matmul ceiling."""
_CEILING_WARM_UP, _CEILING_REPEATS = 2, 5


def measure(
    point: Point,
    protocol: Protocol,
    report: Callable[[str], None] = lambda _stage: None,
    *,
    sample: bool = True,
    place: Place | None = None,
) -> Measurement:
    """Measures ``point``; whatever goes wrong is said in the outcome.

    Args:
        report: is told the name of each stage when it begins.
        sample: read the process's memory during the step, in a thread.
        place: of this process among those that share the step; what it finds is its own part.
    """
    return _Run(point, protocol, report, sample, place).answer()


class _Run:
    def __init__(
        self,
        point: Point,
        protocol: Protocol,
        report: Callable[[str], None],
        sample: bool,
        place: Place | None,
    ) -> None:
        self.point, self.protocol, self.report = point, protocol, report
        self.sample, self.place = sample, place
        self.stage = "start"
        self.stage_seconds: dict[str, float] = {}
        self.unknown: dict[str, str] = {}
        self.found: dict[str, Any] = {}
        self.gpu: Gpu | None = None

    def answer(self) -> Measurement:
        outcome: Outcome = "ok"
        error = stage = None
        try:
            self._stages()
        except Exception as problem:  # noqa: BLE001  (any failure of a point is a row)
            outcome = "oom" if _is_out_of_memory(problem) else "crashed"
            error, stage = f"{type(problem).__name__}: {reason_of(problem, 500)}", self.stage
        return Measurement(
            outcome=outcome,
            error=error,
            stage=stage,
            stage_seconds=self.stage_seconds,
            unknown=self.unknown,
            environment=measured_environment(
                self.gpu,
                *(self.found.pop(moment, None) for moment in ("before", "after", "during")),
            ),
            **self.found,
        )

    @contextmanager
    def _in(self, stage: str) -> Iterator[None]:
        self.stage = stage
        self.report(stage)
        start = perf_counter()
        try:
            yield
        finally:
            self.stage_seconds[stage] = perf_counter() - start

    def _stages(self) -> None:
        with self._in("start"):
            meter = self._start()
        with self._in("build"):
            from rmtscale.profiler.subject import DTYPES, Subject

            subject = Subject(self.point, self.ranks)
        with self._in("warm-up"):
            self._warm_up(subject)
        with self._in("memory"):
            self.ranks.wait()
            self.found["memory"] = memory = meter.measure(subject.step)
            if self.point.device == "cuda" and memory.process_bytes is None:
                self._unknown("the driver does not say", "memory.process_bytes")
        with self._in("timing"):
            self._timing(subject)
        dtype = DTYPES[find_precision(self.point.precision).arithmetic]
        del subject
        gc.collect()
        with self._in("ceiling"):
            self._ceiling(dtype)

    def _start(self) -> MemoryMeter:
        cuda = self.point.device == "cuda"
        rank = 0 if self.place is None else self.place.rank
        if not cuda:
            self._unknown("measured on the CPU", "event_time", "energy_joules")
        else:
            try:
                self.gpu = open_gpu(rank)
            except NoGpu as error:
                self._unknown(str(error), "energy_joules", "memory.process_bytes")
        # After the libraries, before the model: their memory and time are not the model's.
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        if not cuda:
            from rmtscale.profiler.subject import warm_libraries

            self.ranks = Ranks(self.place, self.point.device)
            warm_libraries(self.point)
            _limit_data(self.point.memory_limit_bytes)
            return ResidentMeter(sample=self.sample)
        meter = CudaMeter(self.gpu, sample=self.sample)
        self.ranks = Ranks(self.place, self.point.device)  # from here on its GPU is the current one
        total = torch.cuda.get_device_properties(rank).total_memory
        limit = self.point.memory_limit_bytes
        if limit is not None and limit < total:
            torch.cuda.set_per_process_memory_fraction(limit / total, rank)
        return meter

    def _warm_up(self, subject: Any) -> None:
        steps = self.protocol.warmup_steps
        if self.point.capture:
            # The first step captures, and torch sees all that it allocates; of a replay it sees
            # nothing. What is measured is a step that captures when the optimizer has its state.
            steps = 1
        if self.point.attention == "eager":
            self._unknown("eager attention is no fused kernel", "attention_kernel")
        else:
            self.found["attention_kernel"] = attention_kernel(subject.one_pass)
            if self.found["attention_kernel"] is None:
                self._unknown("no attention operator was seen", "attention_kernel")
            if self.point.method == "full" or self.point.layout is not None:
                steps -= 1  # that was one
        if self.point.layout is not None:
            self._count(subject, self.point.layout)
            return
        for _ in range(steps):
            subject.step()
        if self.point.capture:
            subject.forget_captures()

    def _count(self, subject: Any, layout: Layout) -> None:
        """Warms up, and counts what the last step sends; DDP's second one sorts its buckets."""
        from rmtscale.profiler.collectives import CollectiveCounter

        before = max(1 + (layout.zero == 0 and layout.shards > 1), self.protocol.warmup_steps - 1)
        for _ in range(before - (self.point.attention != "eager")):
            subject.step()
        with CollectiveCounter() as counter:
            subject.step()
        self.found["sent"] = counter.sent()

    def _timing(self, subject: Any) -> None:
        cuda = self.point.device == "cuda"
        gpu = self.gpu
        wall, before, window = self._timed_twice_at_most(subject, cuda, gpu)
        if gpu is None or wall is None:
            return
        self.found["after"] = gpu.state()
        after = gpu.energy_joules()
        if before is None or after is None:
            self._unknown("the driver does not say", "energy_joules")
        elif window < SHORTEST_ENERGY_SECONDS:
            self._unknown(f"timed for under {SHORTEST_ENERGY_SECONDS} s", "energy_joules")
        else:
            self.found["energy_joules"] = (after - before) / (
                len(wall.seconds) + 1
            )  # one ran midway

    def _timed_twice_at_most(
        self, subject: Any, cuda: bool, gpu: Gpu | None
    ) -> tuple[Samples | None, float | None, float]:
        """Times the steps; a GPU's once more where the host's speed changed meanwhile.

        Returns:
            The host's clock, the energy counter before, and the seconds it took.
        """

        def midway() -> None:
            if gpu is not None:
                self.found["during"] = gpu.state()

        for again in range(2):
            loop = loop_seconds()
            before = None if gpu is None else gpu.energy_joules()
            if gpu is not None:
                self.found["before"] = gpu.state()
            start = perf_counter()
            timed = time_steps(
                subject.step, self.protocol, cuda=cuda, midway=midway, agree=self.ranks.agree
            )
            window = perf_counter() - start
            after = loop_seconds()
            changed = drifted(loop, after)
            if not (cuda and self.ranks.agree(changed)) or again:
                break
        self.found |= {"event_time": timed.event, "wall_time": timed.wall}
        if cuda:
            speed = HostSpeed(before_seconds=loop, after_seconds=after, drifted=changed)
            self.found |= {"host_time": timed.host, "host_speed": speed}
        return timed.wall, before, window

    def _ceiling(self, dtype: Any) -> None:
        field = "matmul_ceiling_flops_per_second"
        try:
            self.found[field] = matmul_flops_per_second(dtype, self.point.device)
        except (RuntimeError, MemoryError) as error:  # the point itself was measured
            self._unknown("no room for it" if _is_out_of_memory(error) else str(error), field)

    def _unknown(self, why: str, *fields: str) -> None:
        self.unknown |= dict.fromkeys(fields, why)


def _limit_data(limit_bytes: int | None) -> None:
    """Caps what this process may allocate from here on, so that a row is lost and not a machine.

    Without a limit of the point's own: what the system has available.
    """
    import psutil

    now = data_bytes()
    if now is None:  # no such limit on this system
        return
    room = limit_bytes or int(psutil.virtual_memory().available)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = now + room
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in _CPU_OUT_OF_MEMORY
    )


def attention_kernel(step: Callable[[], object]) -> str | None:
    """Runs ``step`` under torch's profiler; several kernels are joined by ``+``, none is None."""
    from torch.profiler import ProfilerActivity, profile

    # Operators are seen on the host's side already; the GPU's own trace is not needed. Nor is the
    # tree that torch would make of them, which takes ten times as long as a long RMT's step.
    with profile(activities=[ProfilerActivity.CPU]) as run:
        step()
    traced: Any = run.profiler
    names = {event.name() for event in traced.kineto_results.events()}
    return "+".join(sorted({_KERNELS[name] for name in names & set(_KERNELS)})) or None


def matmul_flops_per_second(dtype: Any, device: str) -> float:
    """Measures five square matmuls, 8192 on a GPU (2^40 FLOPs), 1024 on a CPU; their median."""
    import torch

    size = CUDA_SIZE if device == "cuda" else CPU_SIZE
    left, right = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(left)
    seconds = []
    for _ in range(_CEILING_WARM_UP + _CEILING_REPEATS):
        if device == "cuda":
            torch.cuda.synchronize()
        start = perf_counter()
        torch.mm(left, right, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
    return float(2 * size**3 / median(seconds[_CEILING_WARM_UP:]))
