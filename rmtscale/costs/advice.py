"""Changes that save time: each predicted with and without it, and named where it pays.

Three are known that leave the result as it is: a vocabulary of a multiple of 64, without which
matmuls of the head fall to slow kernels in 16 bits; AdamW as one kernel instead of a chain of a
dozen; and training steps of an RMT captured, which then wait for no host, or compiled as well. Both
predictions are of the same machine, so that most of what may be off is off in both: the saving lies
between the least and the most that any speed of the host and any spread of the constants leaves,
and a part of it either way for what only the change depends on. What may save nothing is not named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from rmtscale.costs.captured_steps import captures_too, runs_captured, trains_captured
from rmtscale.costs.design import Design
from rmtscale.costs.time.constants import FASTER_HOST, HOST_SPREAD, TimeConstants
from rmtscale.costs.time.constants_file import known_constants
from rmtscale.costs.time.step_time import HOST, StepTime, device_factors
from rmtscale.costs.time_range import predicted_step
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import format_seconds, format_tokens

PADDED_WORDS = 64
"""A padded vocabulary is a multiple of so many words."""
LEAST_SHARE = 0.01
"""A change that may save less of a step than this is not worth a line."""
APART = 1.35
"""Misaligned kernels, an optimizer's traffic and compiled blocks, on which only the change depends,
may take so many times as long as predicted, or so many times less."""


class Advice(NamedTuple):
    """A change, and the seconds of a step that it saves."""

    name: str
    """Its key: ``padded_vocabulary``, ``fused_adamw``, ``capture``, ``capture_compile``,
    ``compile``."""
    change: str
    saved_seconds: float
    least_seconds: float
    """Saved in any case."""
    most_seconds: float
    step_seconds: float
    """The step without the change."""
    bound: str
    """Names what sets its pace: ``host`` or ``device``."""

    @property
    def words(self) -> str:
        """The change with its number: ``fused AdamW saves 9.1 ms of 44 ms``."""
        saved, whole = format_seconds(self.saved_seconds, 2), format_seconds(self.step_seconds, 2)
        return f"{self.change} saves {saved} of {whole}"


class Change(NamedTuple):
    """A change, and the model and the work that have it."""

    name: str
    words: str
    model: ModelSpec
    work: Workload


def padded_vocabulary(words: int) -> int:
    """Returns the next multiple of ``PADDED_WORDS``."""
    return -(-words // PADDED_WORDS) * PADDED_WORDS


def saving(
    without: StepTime, with_it: StepTime, change: Change, constants: TimeConstants
) -> Advice:
    """Returns what a change saves, between the ends that all hosts and spreads leave."""
    arithmetic = change.work.dtype
    hosts = (1.0, 1 / FASTER_HOST, HOST_SPREAD)
    found = [
        without.where(host, factors) - with_it.where(host, factors)
        for host, factors in product(hosts, device_factors(arithmetic, constants))
    ]
    least, most = min(found), max(found)
    return Advice(
        change.name,
        change.words,
        found[0],
        least / APART if least > 0 else least * APART,
        most * APART,
        without.seconds,
        without.bound,
    )


def advise(
    model: ModelSpec,
    workload: Workload,
    device: DeviceSpec,
    design: Design = None,
    calibration: TimeConstants | None = None,
) -> tuple[Advice, ...]:
    """Returns the changes that pay.

    None are known of methods other than RMT, and where kernels are not known.

    Raises:
        BadInput: the device has no peak for the dtype, or a segment cannot be.
    """
    if not device.timed:
        return ()
    constants = known_constants(device) if calibration is None else calibration

    def step(model: ModelSpec, work: Workload) -> StepTime | None:
        graph = runs_captured(model, work, design)
        return predicted_step(model, work, device, design, constants, captured=graph)

    without = step(model, workload)
    if without is None:
        return ()
    found = []
    for other in changes_of(model, workload, design):
        changed = step(other.model, other.work)
        if changed is not None:
            found.append(saving(without, changed, other, constants))
    return tuple(one for one in found if one.least_seconds > LEAST_SHARE * without.seconds)


def advice_words(title: str, advice: Sequence[Advice]) -> str:
    """Returns a sentence on what saves time in one way of doing it; empty where nothing does."""
    if not advice:
        return ""
    bound = ", bound by the host" if advice[0].bound == HOST else ""
    return f"{title}{bound}: {'; '.join(one.words for one in advice)}."


def changes_of(model: ModelSpec, work: Workload, design: Design) -> Iterator[Change]:
    """Yields the changes that leave the result as it is, whether or not they pay."""
    words = padded_vocabulary(model.vocabulary)
    if words != model.vocabulary and not isinstance(model, LayeredSpec):
        padded = replace(model, vocabulary=words)
        said = f"padding the vocabulary to {format_tokens(words)}"
        yield Change("padded_vocabulary", said, padded, work)
    if work.train and work.optimizer == "adamw" and not work.offload_optimizer:
        fused = replace(work, optimizer="adamw-fused")
        yield Change("fused_adamw", "fused AdamW", model, fused)
    if captures_too(model, work, design):
        captured = replace(work, capture=True)
        compiled = replace(captured, compile_step=True)
        yield Change("capture", "capturing the steps", model, captured)
        yield Change("capture_compile", "capturing and compiling the steps", model, compiled)
    elif not work.compile_step and (
        trains_captured(model, work, design)
        or (isinstance(design, Recurrence) and runs_captured(model, work, design))
    ):
        compiled = replace(work, compile_step=True)
        yield Change("compile", "compiling the segments", model, compiled)
