"""A plan for a given device: break-even lengths, and where memory ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

from rmtscale.costs.breakeven import break_even_tokens
from rmtscale.costs.by_length import fewer_flops_tokens, less_time, longest_tokens, peak_bytes
from rmtscale.costs.captured_steps import captures_too
from rmtscale.costs.crossover import Crossover
from rmtscale.costs.design import Design, resolve_design
from rmtscale.costs.methods.method import Method
from rmtscale.costs.time.constants import TimeConstants
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

    # The last logits for both: it is all that an RMT forms, so nothing else compares.
    work = replace(workload, tokens=1, logits="last")

    def checkpointed(design: Design) -> Workload:
        segments = isinstance(design, Recurrence)
        return replace(work, checkpoint_segments=segments, checkpoint_layers=not segments)

    def ends(design: Design) -> tuple[int | None, int | None]:
        usual = longest_tokens(model, work, device, design)
        if not checkpoints:
            return usual, None
        return usual, longest_tokens(model, checkpointed(design), device, design)

    full_longest, full_checkpointed_longest = ends(None)
    if alone:
        return Plan(
            full_longest_tokens=full_longest,
            full_checkpointed_longest_tokens=full_checkpointed_longest,
        )
    text = recurrence.segment_tokens(model) if isinstance(recurrence, Recurrence) else 1

    def less_memory(full: Workload, other: Workload) -> int | None:
        return break_even_tokens(
            peak_bytes(model, full, device, None),
            peak_bytes(model, other, device, recurrence),
            text,
        )

    # Neither arithmetic nor time is another where keys and values are kept.
    once = replace(work, cache=False)
    time = less_time(model, once, device, recurrence, calibration)
    capturable = captures_too(model, workload, recurrence)
    captured = Crossover(None, None)
    if capturable:
        graphs = replace(once, capture=True)
        captured = less_time(model, graphs, device, recurrence, calibration)
    flops = fewer_flops_tokens(model, once, recurrence, convention)
    memory, checkpointed_memory = less_memory(work, work), None
    if checkpoints:
        checkpointed_memory = less_memory(checkpointed(None), checkpointed(recurrence))
    longest, checkpointed_longest = ends(recurrence)
    return Plan(
        segment_size=recurrence.segment_size if isinstance(recurrence, Recurrence) else None,
        fewer_flops_tokens=flops,
        less_memory_tokens=memory,
        less_memory_checkpointed_tokens=checkpointed_memory,
        less_time_least_tokens=time.least_tokens,
        less_time_most_tokens=time.most_tokens,
        capturable=capturable,
        less_time_captured_least_tokens=captured.least_tokens,
        less_time_captured_most_tokens=captured.most_tokens,
        full_longest_tokens=full_longest,
        full_checkpointed_longest_tokens=full_checkpointed_longest,
        longest_tokens=longest,
        checkpointed_longest_tokens=checkpointed_longest,
    )
