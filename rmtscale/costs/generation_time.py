"""How long reading a prompt and writing behind it take: between which times each of them lies.

A prompt that is read whole is one forward pass: where a model's kernels are known, its time is that
of ``time_range.step_seconds``. Of everything else a roofline is the least, and slow kernels with a
slow host, which starts every operator of every token, are the most.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from rmtscale.costs.generation import GenerationCost
from rmtscale.costs.generation_runs import Generation
from rmtscale.costs.time_range import TimeRange, operators, predicted_step, slow_end, step_seconds
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload


class GenerationTime(NamedTuple):
    """The times of the two phases."""

    prefill: TimeRange
    decode: TimeRange
    """All steps behind the prefill, which gives the first token."""

    def tokens_per_second(self, generation: Generation) -> tuple[float, float] | None:
        """Returns tokens a second while decoding, at least and at most; None without any step."""
        tokens = generation.batch_size * (generation.new_tokens - 1)
        if not tokens:
            return None
        return tokens / self.decode.most_seconds, tokens / self.decode.least_seconds


def generation_time(
    model: ModelSpec,
    generation: Generation,
    device: DeviceSpec,
    cost: GenerationCost,
    recurrence: Recurrence | None = None,
) -> GenerationTime:
    """The times of a generation whose cost was estimated.

    Raises:
        BadInput: the device has no peak for the dtype, or a segment that cannot be.
    """
    encodes = isinstance(model, LayeredSpec) and bool(model.encoder_groups)
    work = Workload(
        tokens=generation.context_tokens,
        batch_size=generation.batch_size,
        precision=generation.dtype,
        cache=not encodes,
    )
    captured = recurrence is not None
    prefill = slow_end(cost.prefill.seconds, operators(model, work, recurrence), captured=captured)
    whole = generation.prefill_chunk is None and generation.kv_dtype in (None, generation.dtype)
    if whole and not encodes and predicted_step(model, work, device, recurrence) is not None:
        prefill = step_seconds(model, work, device, recurrence)
    each = operators(model, replace(work, tokens=1), None)
    steps = generation.new_tokens - 1
    decode = slow_end(cost.decode.seconds, steps * each, captured=captured)
    return GenerationTime(prefill, decode)


def faster(full: TimeRange, rmt: TimeRange) -> str | None:
    """Returns ``full`` or ``rmt``; None where their ranges overlap, so that it is not known."""
    if full.most_seconds < rmt.least_seconds:
        return "full"
    return "rmt" if rmt.most_seconds < full.least_seconds else None
