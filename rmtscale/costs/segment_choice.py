"""Which segment size to take: the longest that costs little more than the cheapest one that fits.

A longer segment attends to more text directly, hands its memory on less often and starts fewer
operators, which short segments are bound by and the roofline leaves out; a shorter one saves
attention. So of all sizes that fit, those within a tenth of the least time are taken for equal, and
the longest of them is recommended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.roofline import estimate_time
from rmtscale.errors import BadInput
from rmtscale.specs.device import NARROW, DeviceSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import format_bytes, format_percent

SEGMENT_SIZES = (128, 256, 512, 1024, 2048, 4096)
AUTO = "auto"
"""How a segment size is asked for that is to be recommended."""
EQUAL = 0.10
"""Costs within this share of the least are taken for equal."""


class SegmentChoice(NamedTuple):
    """A segment size, and why it is recommended."""

    recurrence: Recurrence
    reason: str


def possible_segment_sizes(model: ModelSpec, memory_tokens: int) -> list[int]:
    """The sizes of ``SEGMENT_SIZES`` that the model can have and whose text is most of them.

    Raises:
        BadInput: there is none.
    """
    overhead = Recurrence(SEGMENT_SIZES[-1], memory_tokens).overhead(model)
    sizes = [
        size
        for size in SEGMENT_SIZES
        if size >= 4 * overhead and (model.positions is None or size <= model.positions)
    ]
    if not sizes:
        raise BadInput(
            f"segment size 'auto': none of {', '.join(map(str, SEGMENT_SIZES))} leaves room for "
            f"text beside {memory_tokens} memory tokens in {model.name}, expected a number"
        )
    return sizes


def recommend_segment(
    model: ModelSpec, workload: Workload, memory_tokens: int, device: DeviceSpec
) -> SegmentChoice:
    """The segment size to take for a workload on a device; in training with checkpoints.

    Raises:
        BadInput: no size is possible, or the device has no peak for the dtype.
    """
    work = replace(workload, checkpoint_layers=False, checkpoint_segments=workload.train)
    sizes = possible_segment_sizes(model, memory_tokens)
    designs = [Recurrence(size, memory_tokens) for size in sizes]
    peaks = [estimate_memory(model, work, design, device).total for design in designs]
    room, margin = device.usable_memory_bytes, ""
    if min(peaks) <= device.ample_memory_bytes:
        room, margin = device.ample_memory_bytes, f" with {format_percent(NARROW)} to spare"
    if min(peaks) > room:
        least = designs[peaks.index(min(peaks))]
        return SegmentChoice(
            least, f"none from {sizes[0]} to {sizes[-1]} fits, this one needs the least memory"
        )

    def cost(design: Recurrence) -> float:
        if device.timed:
            return estimate_time(model, work, device, design).seconds
        return estimate_flops(model, work, design, "matmul").total

    fitting = [design for design, peak in zip(designs, peaks, strict=True) if peak <= room]
    what = "time by the roofline" if device.timed else "FLOPs"
    return SegmentChoice(
        longest_of_equal(fitting, [cost(design) for design in fitting]),
        f"the longest from {sizes[0]} to {sizes[-1]} that fits into "
        f"{format_bytes(device.usable_memory_bytes)}{margin} and takes at most "
        f"{format_percent(EQUAL)} more {what} than the best",
    )


def longest_of_equal(designs: Sequence[Recurrence], costs: Sequence[float]) -> Recurrence:
    """The last of the designs, shortest segments first, that costs little more than the cheapest.

    Args:
        designs: at least one.
        costs: of each, in whatever unit.
    """
    least = min(costs)
    near = [one for one, cost in zip(designs, costs, strict=True) if cost <= (1 + EQUAL) * least]
    return near[-1]
