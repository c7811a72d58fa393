"""A plan for a given device: break-even lengths, and where memory ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rmtscale.costs.breakeven import break_even_tokens, longest_fitting_tokens
from rmtscale.costs.captured_steps import captures_too, runs_captured
from rmtscale.costs.crossover import Crossover, faster_from
from rmtscale.costs.design import Design, resolve_design
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.methods.method import Method
from rmtscale.costs.roofline import estimate_time
from rmtscale.costs.time.constants import TimeConstants
from rmtscale.costs.time.step_time import StepTime
from rmtscale.costs.time_range import predicted_step
from rmtscale.errors import BadInput
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.tabular import Printed, to_frame
from rmtscale.units import format_tokens

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Plan(Printed):
    """Lengths, in tokens, at which the answer changes; None where it never does.

    "RMT" is the method that was compared with full attention, if it was another one. Where none
    was, all but full attention's own lengths are None.
    """

    segment_size: int | None = None
    """None where another method than an RMT was compared, as whatever needs segments."""
    fewer_flops_tokens: int | None = None
    """From here on RMT needs fewer FLOPs."""
    less_memory_tokens: int | None = None
    """From here on RMT needs less memory."""
    less_memory_checkpointed_tokens: int | None = None
    """RMT is below with activation checkpoints in both (training): one per segment, and one per
    layer of full attention."""
    less_time_least_tokens: int | None = None
    """RMT does not need less time before; None: at no length."""
    less_time_most_tokens: int | None = None
    """It does from here on; None: not known, it may never. Where kernels are not known (methods
    other than RMT, quantised weights) a roofline gives the least, and nothing the most."""
    capturable: bool = False
    """Whether an RMT's training steps could be captured, where that was not asked for."""
    less_time_captured_least_tokens: int | None = None
    """An RMT whose training steps are captured does not need less time before, where it is
    ``capturable``."""
    less_time_captured_most_tokens: int | None = None
    """And does from here on."""
    full_longest_tokens: int | None = None
    """The longest input that fits with full attention; None if not even one token does."""
    full_checkpointed_longest_tokens: int | None = None
    """Its limit with one activation checkpoint per layer (training)."""
    longest_tokens: int | None = None
    """The limit of RMT."""
    checkpointed_longest_tokens: int | None = None
    """Its limit with one activation checkpoint per segment (training)."""

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Returns every length, as text."""
        rows = []
        for field in fields(self)[1:]:
            tokens = getattr(self, field.name)
            if not isinstance(tokens, bool):
                shown = "-" if tokens is None else format_tokens(tokens)
                rows.append([field.name.replace("_", " "), shown])
        return ["", "tokens"], rows

    def to_frame(self) -> pd.DataFrame:
        """Returns the lengths as a frame of one row."""
        return to_frame([asdict(self)])


def make_plan(
    model: ModelSpec,
    workload: Workload,
    recurrence: Design,
    device: DeviceSpec,
    convention: str,
    calibration: TimeConstants | None = None,
) -> Plan:
    """The lengths at which RMT and full attention change places on ``device``.

    Args:
        workload: its ``tokens`` are ignored; everything else is kept at every length.
        recurrence: an RMT, or another method to compare with full attention; lengths from which
            those that work in blocks need less memory may be a block off. None compares nothing.
        calibration: constants of this device that were measured; else those that are known.

    Raises:
        BadInput: the device has no peak for the dtype, a segment cannot be, or the backbone
            cannot have the method; a calibration with a method, a model or a workload that was
            never measured.
    """
    alone = recurrence is None
    recurrence = resolve_design(model, workload, recurrence)
    if calibration is not None and isinstance(recurrence, Method):
        raise BadInput(f"method {recurrence.name!r}: a calibration is of full attention and rmt")
    checkpoints = workload.train and (alone or isinstance(recurrence, Recurrence))

    def at(tokens: int) -> Workload:
        # The last logits for both: it is all that an RMT forms, so nothing else compares.
        return replace(workload, tokens=tokens, logits="last")

    def peak_bytes(tokens: int, with_memory: Design, *, checkpoint: bool = False) -> int:
        work = at(tokens)
        if checkpoint:
            segments = isinstance(with_memory, Recurrence)
            work = replace(work, checkpoint_segments=segments, checkpoint_layers=not segments)
        return estimate_memory(model, work, with_memory, device).total

    def longest(with_memory: Design, *, checkpoint: bool = False) -> int | None:
        return longest_fitting_tokens(
            lambda tokens: peak_bytes(tokens, with_memory, checkpoint=checkpoint),
            device.usable_memory_bytes,
        )

    def roofline(tokens: int, with_memory: Design) -> float:
        return estimate_time(model, at(tokens), device, with_memory).seconds

    @lru_cache(maxsize=4096)
    def step(tokens: int, with_memory: Design, *, capture: bool = False) -> StepTime:
        graph = runs_captured(model, workload, with_memory)
        work = replace(at(tokens), capture=True) if capture else at(tokens)
        found = predicted_step(model, work, device, with_memory, calibration, captured=graph)
        assert found is not None, "asked for where kernels are known"
        return found

    def less_time(*, capture: bool = False) -> Crossover:
        if not device.timed:
            return Crossover(None, None)
        known = predicted_step(model, at(text), device, recurrence, calibration) is not None
        if known and predicted_step(model, at(text), device, None, calibration) is not None:
            return faster_from(
                lambda tokens: step(tokens, None),
                lambda tokens: step(tokens, recurrence, capture=capture),
                text,
            )
        least = break_even_tokens(
            lambda tokens: roofline(tokens, None),
            lambda tokens: roofline(tokens, recurrence),
            text if isinstance(recurrence, Recurrence) else None,
        )
        return Crossover(least, None)

    ends: dict[str, Any] = {
        "full_longest_tokens": longest(None),
        "full_checkpointed_longest_tokens": longest(None, checkpoint=True) if checkpoints else None,
    }
    if alone:
        return Plan(**ends)
    text = recurrence.segment_tokens(model) if isinstance(recurrence, Recurrence) else 1
    time = less_time()
    capturable = captures_too(model, workload, recurrence)
    captured = less_time(capture=True) if capturable else Crossover(None, None)
    return Plan(
        segment_size=recurrence.segment_size if isinstance(recurrence, Recurrence) else None,
        fewer_flops_tokens=break_even_tokens(
            lambda tokens: estimate_flops(model, at(tokens), None, convention).total,
            lambda tokens: estimate_flops(model, at(tokens), recurrence, convention).total,
            text if isinstance(recurrence, Recurrence) else None,
        ),
        less_memory_tokens=break_even_tokens(
            lambda tokens: peak_bytes(tokens, None),
            lambda tokens: peak_bytes(tokens, recurrence),
            text,
        ),
        less_memory_checkpointed_tokens=break_even_tokens(
            lambda tokens: peak_bytes(tokens, None, checkpoint=True),
            lambda tokens: peak_bytes(tokens, recurrence, checkpoint=True),
            text,
        )
        if checkpoints
        else None,
        less_time_least_tokens=time.least_tokens,
        less_time_most_tokens=time.most_tokens,
        capturable=capturable,
        less_time_captured_least_tokens=captured.least_tokens,
        less_time_captured_most_tokens=captured.most_tokens,
        **ends,
        longest_tokens=longest(recurrence),
        checkpointed_longest_tokens=longest(recurrence, checkpoint=True) if checkpoints else None,
    )
