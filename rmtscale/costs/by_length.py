"""Costs of one design as functions of the length, for searches that ask for many lengths.

A plan is made for several segment sizes and modes, and much of what it asks is the same for all of
them: how much memory full attention takes, or how long a pass takes whether or not it keeps keys
and values. What was found out for one is there for the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from rmtscale.costs.breakeven import (
    LONGEST_TOKENS,
    break_even_tokens,
    longest_fitting_tokens,
)
from rmtscale.costs.captured_steps import runs_captured
from rmtscale.costs.crossover import Crossover, faster_from
from rmtscale.costs.design import Design
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.roofline import estimate_time
from rmtscale.costs.time.constants import TimeConstants
from rmtscale.costs.time.step_time import StepTime
from rmtscale.costs.time_range import predicted_step
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload


@lru_cache(maxsize=64)
def peak_bytes(
    model: ModelSpec, work: Workload, device: DeviceSpec, design: Design
) -> Callable[[int], int]:
    """Returns peak memory by length; ``work`` says everything but the length."""

    @lru_cache(maxsize=4096)
    def at(tokens: int) -> int:
        return estimate_memory(model, work.of_length(tokens), design, device).total

    return at


@lru_cache(maxsize=64)
def longest_tokens(
    model: ModelSpec, work: Workload, device: DeviceSpec, design: Design
) -> int | None:
    """Returns the longest input that fits, as ``longest_fitting_tokens`` does."""
    return longest_fitting_tokens(
        peak_bytes(model, work, device, design), device.usable_memory_bytes
    )


@lru_cache(maxsize=64)
def fewer_flops_tokens(
    model: ModelSpec, work: Workload, design: Design, convention: str
) -> int | None:
    """Returns the length from which a design needs fewer FLOPs than full attention."""

    def flops(tokens: int, design: Design) -> int:
        return estimate_flops(model, work.of_length(tokens), design, convention).total

    return break_even_tokens(
        lambda tokens: flops(tokens, None),
        lambda tokens: flops(tokens, design),
        _segment_tokens(model, design),
    )


@lru_cache(maxsize=64)
def less_time(
    model: ModelSpec,
    work: Workload,
    device: DeviceSpec,
    design: Design,
    calibration: TimeConstants | None,
) -> Crossover:
    """Returns between which lengths a design becomes faster than full attention."""
    if not device.timed:
        return Crossover(None, None)
    text = _segment_tokens(model, design)
    if _kernels_known(model, work, device, design, calibration, text or 1):
        # Full attention runs as it is, however an RMT's steps do.
        eager = replace(work, capture=False, compile_step=False)
        full = _steps(model, eager, device, None, calibration)
        return faster_from(full, _steps(model, work, device, design, calibration), text or 1)

    def roofline(tokens: int, design: Design) -> float:
        return estimate_time(model, work.of_length(tokens), device, design).seconds

    least = break_even_tokens(
        lambda tokens: roofline(tokens, None), lambda tokens: roofline(tokens, design), text
    )
    return Crossover(least, None)


def _kernels_known(
    model: ModelSpec,
    work: Workload,
    device: DeviceSpec,
    design: Design,
    calibration: TimeConstants | None,
    text: int,
) -> bool:
    """Whether kernels are known at every length: of an RMT they are if those of a segment are; of
    full attention a sliding window may be shorter than some inputs."""
    return all(
        predicted_step(model, work.of_length(tokens), device, one, calibration) is not None
        for one, tokens in ((design, text), (None, text), (None, LONGEST_TOKENS))
    )


@lru_cache(maxsize=64)
def _steps(
    model: ModelSpec,
    work: Workload,
    device: DeviceSpec,
    design: Design,
    calibration: TimeConstants | None,
) -> Callable[[int], StepTime]:
    """Returns steps by length, of what has kernels that are known."""
    graph = runs_captured(model, work, design)

    @lru_cache(maxsize=4096)
    def at(tokens: int) -> StepTime:
        long = work.of_length(tokens)
        found = predicted_step(model, long, device, design, calibration, captured=graph)
        assert found is not None, "asked for where kernels are known"
        return found

    return at


def _segment_tokens(model: ModelSpec, design: Design) -> int | None:
    """Returns text tokens of a full segment; None of a method, which has none."""
    return design.segment_tokens(model) if isinstance(design, Recurrence) else None
