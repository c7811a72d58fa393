"""Bounds of a run on a GPU: how much it holds, how fast it moves it and multiplies."""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.errors import BadInput, quoted_list
from rmtscale.units import require_positive

DEVICE_DTYPES = ("fp32", "tf32", "bf16", "fp16")
"""The kinds of arithmetic a device may have; ``tf32`` is fp32 data on tensor cores."""


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
    memory_bytes: int
    """Total memory as the driver's tool shows it (nvidia-smi, rocm-smi), ECC as delivered.

    An upper bound: a framework is offered less (of an H200's 143,771 MiB = 140.4 GiB, torch gets
    139.8 GiB; small cards lose a larger share), and context, kernels and fragmentation take more.
    """
    bandwidth_bytes_per_second: int
    """Peak of the device's own memory."""
    fp32_flops_per_second: int
    """32-bit arithmetic throughout, never TF32."""
    tf32_flops_per_second: int | None = None
    """Tensor cores on fp32 data (torch: ``allow_tf32``); None: the device has no TF32."""
    bf16_flops_per_second: int | None = None
    """Tensor cores, fp32 accumulate; None: no bf16 tensor cores, torch would emulate it slowly."""
    fp16_flops_per_second: int | None = None
    """Tensor cores, fp32 accumulate (on GeForce half of the figure with fp16 accumulate)."""
    library_workspace_bytes: int = 0
    """Bytes that torch's cuBLAS allocates once per thread and stream that multiplies;
    0: not known, and not counted. 32 MiB on Hopper, as measured records show."""
    source: str
    """Vendor document, its table and date; what was halved or divided is said here."""

    def __post_init__(self) -> None:
        require_positive(f"{self.name} memory", self.memory_bytes)
        require_positive(f"{self.name} bandwidth", self.bandwidth_bytes_per_second)
        for dtype in self.dtypes:
            require_positive(f"{self.name} {dtype} FLOP/s", self.flops_per_second(dtype))
        if not self.source:
            raise BadInput(f"device {self.name!r}: expected a source for its numbers")

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
