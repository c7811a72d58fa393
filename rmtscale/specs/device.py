"""Bounds of a run on a GPU: how much it holds, how fast it moves it and multiplies."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rmtscale.errors import BadInput, quoted_list
from rmtscale.units import format_bytes, require_positive

DEVICE_DTYPES = ("fp32", "tf32", "bf16", "fp16")
"""The kinds of arithmetic a device may have; ``tf32`` is fp32 data on tensor cores."""
NARROW = 0.03
"""A margin below this share of the usable memory is said, and nothing is recommended that leaves
less: context and fragmentation come on top."""

_LOST_BYTES = 3 * 2**28
"""0.75 GiB: the most by which torch's total was seen below the driver's, on an A100 80GB."""
_LOST_SHARE = 0.0207
"""The largest share that was seen to be lost, on an L4: 22.03 of 22.49 GiB."""


def torch_total_bytes(driver_bytes: int) -> int:
    """Returns the least that torch may be offered of a total as the driver's tool shows it.

    For devices on which torch's own total was not seen: less the largest loss that was seen on
    any, in bytes or as a share, whichever is smaller. A B200 would get 178.31 GiB by it, of the
    178.35 that torch has there; an RTX 3090 23.51 of 23.69.
    """
    return driver_bytes - min(_LOST_BYTES, round(_LOST_SHARE * driver_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """One GPU as its vendor describes it. Peaks are ceilings: no real kernel reaches them.

    FLOP/s are dense, never with sparsity, and one multiply-add is 2 FLOPs.

    Raises:
        BadInput: a number that is not a whole one above zero, or no source.
    """

    name: str
    """How the user calls it: ``a100-80gb``."""
    title: str
    """The vendor's name for it, with whatever tells it from its siblings."""
    driver_names: tuple[str, ...] = ()
    """Its names in NVML and torch (``NVIDIA H200``); none where no such machine was seen."""
    driver_memory_bytes: int
    """Total memory as the driver's tool shows it (nvidia-smi, rocm-smi), ECC as delivered."""
    memory_bytes: int
    """Total as torch shows it (``torch.cuda.mem_get_info``): the most that it can
    hand out where nothing else lives there. Of an H200's 140.40 GiB these are 139.80."""
    memory_source: str
    """Origin of torch's total: where it was seen, or by which rule it follows from the driver's."""
    reserved_bytes: int = 0
    """Left to what else lives there: a context (0.7 GiB on an H200), a display, other processes."""
    bandwidth_bytes_per_second: int
    """Peak of the device's own memory."""
    fp32_flops_per_second: int | None = None
    """32-bit arithmetic throughout, never TF32; None with all others: known for its memory only."""
    tf32_flops_per_second: int | None = None
    """Tensor cores on fp32 data (torch: ``allow_tf32``); None: the device has no TF32."""
    bf16_flops_per_second: int | None = None
    """Tensor cores, fp32 accumulate; None: no bf16 tensor cores, torch would emulate it slowly."""
    fp16_flops_per_second: int | None = None
    """Tensor cores, fp32 accumulate (on GeForce half of the figure with fp16 accumulate)."""
    library_workspace_bytes: int = 0
    """Bytes that torch's cuBLAS allocates once per thread and stream that multiplies;
    0: not known, and not counted. 32 MiB on Hopper, as measured records show."""
    compute_capability: tuple[int, int] | None = None
    """CUDA's, from NVIDIA's table of GPUs; None: no CUDA device."""
    source: str
    """Vendor document, its table and date; what was halved or divided is said here."""

    def __post_init__(self) -> None:
        require_positive(f"{self.name} memory", self.driver_memory_bytes)
        require_positive(f"{self.name} memory", self.memory_bytes)
        if self.memory_bytes > self.driver_memory_bytes:
            raise BadInput(
                f"{self.name} memory {self.memory_bytes}: expected no more than the driver's "
                f"{self.driver_memory_bytes}"
            )
        if not 0 <= self.reserved_bytes < self.memory_bytes:
            raise BadInput(
                f"reserve {format_bytes(self.reserved_bytes)}: expected less than the "
                f"{format_bytes(self.memory_bytes)} of {self.name}"
            )
        require_positive(f"{self.name} bandwidth", self.bandwidth_bytes_per_second)
        for dtype in self.dtypes:
            require_positive(f"{self.name} {dtype} FLOP/s", self.flops_per_second(dtype))
        if not self.source:
            raise BadInput(f"device {self.name!r}: expected a source for its numbers")
        if not self.memory_source:
            raise BadInput(f"device {self.name!r}: expected a source for its memory")

    @property
    def usable_memory_bytes(self) -> int:
        """Memory that a run can have: whatever "fits" is held against this."""
        return self.memory_bytes - self.reserved_bytes

    @property
    def ample_memory_bytes(self) -> int:
        """Usable memory less a margin of ``NARROW``: what is recommended is held against this."""
        return self.usable_memory_bytes - int(NARROW * self.usable_memory_bytes)

    def reserving(self, reserved_bytes: int) -> DeviceSpec:
        """Returns the device with so much of it left to what else lives there.

        Raises:
            BadInput: as much as there is, or more.
        """
        return replace(self, reserved_bytes=reserved_bytes)

    @property
    def usual_dtype(self) -> str:
        """The dtype in which models are run on it: bf16, or fp16 where there is no bf16."""
        return "fp16" if self.timed and self.bf16_flops_per_second is None else "bf16"

    @property
    def timed(self) -> bool:
        """Whether times can be predicted: False where no peak of its arithmetic is known."""
        return bool(self.dtypes)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The arithmetic this device has a peak for."""
        return tuple(dtype for dtype in DEVICE_DTYPES if self._peak(dtype) is not None)

    def flops_per_second(self, dtype: str) -> int:
        """Dense peak for ``dtype``, one of ``DEVICE_DTYPES``.

        Raises:
            BadInput: the device has no such arithmetic; names those it has.
        """
        peak = self._peak(dtype)
        if peak is None:
            if not self.timed:
                raise BadInput(
                    f"device {self.name!r}: known for its memory only, expected one whose times "
                    "can be predicted"
                )
            raise BadInput(
                f"dtype {dtype!r}: {self.name} ({self.title}) has no peak for it; "
                f"expected {quoted_list(self.dtypes)}"
            )
        return peak

    def _peak(self, dtype: str) -> int | None:
        return {
            "fp32": self.fp32_flops_per_second,
            "tf32": self.tf32_flops_per_second,
            "bf16": self.bf16_flops_per_second,
            "fp16": self.fp16_flops_per_second,
        }.get(dtype)
