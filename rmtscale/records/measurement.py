"""The measurement of one point: time, memory, and the reason where a number is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from rmtscale.records.environment import Environment
from rmtscale.records.mapping import Untrue

_ROUNDED = 1e-6
"""Two ways to work out a quartile differ by less."""
Outcome = Literal["ok", "oom", "timeout", "crashed", "skipped"]
OUTCOMES = ("ok", "oom", "timeout", "crashed", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """One clock's readings, one per step, and what they come to."""

    seconds: tuple[float, ...]
    """Every step, in the order they ran."""
    median_seconds: float
    lower_quartile_seconds: float
    upper_quartile_seconds: float
    iqr_seconds: float
    """Interquartile range: half of the steps lie within it."""

    def __post_init__(self) -> None:
        if not self.seconds:
            raise Untrue("seconds: [], expected one or more")
        lower, upper = quantile(self.seconds, 0.25), quantile(self.seconds, 0.75)
        for name, expected in (
            ("median_seconds", median(self.seconds)),
            ("lower_quartile_seconds", lower),
            ("upper_quartile_seconds", upper),
            ("iqr_seconds", upper - lower),
        ):
            value = getattr(self, name)
            if abs(value - expected) > _ROUNDED * max(self.seconds):
                raise Untrue(f"{name}: {value!r}, expected {expected!r} of its seconds")

    @classmethod
    def of(cls, seconds: tuple[float, ...]) -> Samples | None:
        """Returns None for no readings."""
        if not seconds:
            return None
        lower, upper = quantile(seconds, 0.25), quantile(seconds, 0.75)
        return cls(
            seconds=seconds,
            median_seconds=median(seconds),
            lower_quartile_seconds=lower,
            upper_quartile_seconds=upper,
            iqr_seconds=upper - lower,
        )


def quantile(values: tuple[float, ...], share: float) -> float:
    """Returns a quantile, linear between the two nearest values (numpy's default)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one step after the warm-up. Different peaks are different numbers, never mixed.

    On a GPU allocated, reserved and process bytes are known, on a CPU resident ones. The baseline
    is what is there before the step: weights, optimizer state, inputs.
    """

    baseline_allocated_bytes: int | None = None
    peak_allocated_bytes: int | None = None
    """Largest sum of live tensors: ``torch.cuda.max_memory_allocated``."""
    peak_reserved_bytes: int | None = None
    """The memory that torch's allocator held: ``torch.cuda.max_memory_reserved``."""
    process_bytes: int | None = None
    """The memory that the driver counts for the process, in the same window."""
    process_source: Literal["process", "device"] | None = None
    """``device``: the driver does not know the process by this number (containers): what is used
    of the whole device less what was used before the process touched it."""
    non_torch_bytes: int | None = None
    """Process less reserved: context, kernels, libraries."""
    start_resident_bytes: int | None = None
    """CPU: of the process before the model was built, its libraries loaded and used once."""
    baseline_resident_bytes: int | None = None
    peak_resident_bytes: int | None = None
    resident_source: Literal["kernel", "sampled"] | None = None
    """``kernel``: its own high-water mark, reset before the step; ``sampled``: read again and
    again, and a short peak may be missed."""

    @property
    def peak_bytes(self) -> int | None:
        """On a GPU the peak of allocated tensors, on a CPU that of the process."""
        if self.peak_allocated_bytes is not None:
            return self.peak_allocated_bytes
        return self.peak_resident_bytes

    @property
    def model_bytes(self) -> int | None:
        """Returns the number to compare with a prediction: the peak of the tensors.

        On a CPU the peak of resident memory above the start: tensors, and what the C library and
        the kernels keep besides (free lists, packed weights).
        """
        if self.peak_allocated_bytes is not None:
            return self.peak_allocated_bytes
        if self.peak_resident_bytes is None or self.start_resident_bytes is None:
            return None
        return self.peak_resident_bytes - self.start_resident_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpeed:
    """How fast the host was, as the time of a fixed loop of Python says."""

    before_seconds: float
    """The loop before the timed steps."""
    after_seconds: float
    drifted: bool
    """The two are far apart, also in the second attempt: a step that is bound by the host is then
    as long as it happened to be."""

    @property
    def seconds(self) -> float:
        """The loop on the average."""
        return (self.before_seconds + self.after_seconds) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Collectives of one kind that one process takes part in, in a whole step."""

    kind: str
    """``all_gather``, ``reduce_scatter``, ``all_reduce``, ..."""
    calls: int
    elements: int
    """The sum over all calls, each by its larger side."""
    sent_bytes: int
    """Bytes of these elements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankMeasurement:
    """The part of one process in a step that several share."""

    rank: int
    memory: Memory | None = None
    event_time: Samples | None = None
    wall_time: Samples | None = None
    sent: tuple[Sent, ...] = ()


FREE_SHARE = 0.05
"""A host that is free for less than this share of the step sets its pace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The answer of one child process, or what is known of one that did not answer."""

    outcome: Outcome
    error: str | None = None
    stage: str | None = None
    """The stage that it ended in, unless ``ok``: ``build``, ``warm-up``, ``memory``, ``timing``."""
    event_time: Samples | None = None
    """The GPU's time, by CUDA events."""
    wall_time: Samples | None = None
    """The host's time, from synchronize to synchronize."""
    memory: Memory | None = None
    host_time: Samples | None = None
    """The host's time to start a step on a GPU: until it is free, before the device is."""
    host_speed: HostSpeed | None = None
    """None in records of before it was looked at."""
    attention_kernel: str | None = None
    """The kernel that ``sdpa`` ran: ``flash``, ``efficient``, ``cudnn``, ``math``; or ``a+b``."""
    matmul_ceiling_flops_per_second: float | None = None
    """A large matmul in the same dtype and process; the best that could be reached."""
    energy_joules: float | None = None
    """The energy of one step, whole GPU."""
    sent: tuple[Sent, ...] = ()
    """With a layout: what the first process sent in one step, counted at the dispatcher."""
    ranks: tuple[RankMeasurement, ...] = ()
    """With a layout: each process for itself. Times above are then the longest of any process, step
    by step, and the memory that of the process which peaked highest."""
    stage_seconds: dict[str, float] = field(default_factory=dict)
    """How long each stage of the child took."""
    unknown: dict[str, str] = field(default_factory=dict)
    """Why a field is None: ``{"energy_joules": "no NVIDIA driver"}``."""
    environment: Environment

    @property
    def bound(self) -> Literal["host", "device"] | None:
        """Names what set the pace of a step on a GPU; None where the host's time was not taken."""
        if self.host_time is None or self.wall_time is None:
            return None
        free = 1 - self.host_time.median_seconds / self.wall_time.median_seconds
        return "host" if free < FREE_SHARE else "device"

    @property
    def least_seconds(self) -> float | None:
        """The shortest step, which other work on the host has disturbed least."""
        clock = self.event_time or self.wall_time
        return None if clock is None else min(clock.seconds)

    @property
    def step_seconds(self) -> float | None:
        """The median step: by CUDA events where there are any, else by the host's clock."""
        clock = self.event_time or self.wall_time
        return None if clock is None else clock.median_seconds
