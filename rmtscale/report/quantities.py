"""Quantities of a record: one getter, one formatter and one name for each.

Pictures, tables and sentences all take their numbers from here, so that they cannot disagree.
Only a point that was measured to its end has numbers; a failure is its outcome and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from rmtscale.records.record import Record
from rmtscale.report.predictions import (
    Span,
    done_share,
    peak_before,
    peak_now,
    seconds_before,
    seconds_now,
)
from rmtscale.units import format_bytes, format_percent, format_seconds, format_seconds_range


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of a record."""

    name: str
    """Its name in words: ``iteration time``."""
    key: str
    """Its name for machines, with the unit: ``step_seconds``."""
    read: Callable[[Record], float | None]
    show: Callable[[float], str]
    better: str = "smaller"
    """How the smaller of two is called: ``faster``."""
    predicted: Callable[[Record], Span | None] | None = None
    """Its prediction by the formulas of today."""
    predicted_before: Callable[[Record], Span | None] | None = None
    """Its prediction from before it was measured."""
    spread: Callable[[Record], tuple[float, float] | None] | None = None
    """The quartiles, where the number is a median."""

    def show_span(self, span: Span | None) -> str:
        """Formats a prediction: ``12 to 18 ms``, ``at least 12.0 ms``, ``1.50 GiB``, ``-``."""
        if span is None:
            return "-"
        if span.most == inf:
            return f"at least {self.show(span.least)}"
        if span.least == span.most:
            return self.show(span.least)
        return format_seconds_range(span.least, span.most)


def predicted_words(quantity: Quantity, record: Record) -> tuple[str, str]:
    """Returns what is predicted of a point today, and what was before it was measured."""
    if quantity.predicted is None or quantity.predicted_before is None:
        return "-", "-"
    now, before = quantity.predicted(record), quantity.predicted_before(record)
    return quantity.show_span(now), quantity.show_span(before)


def format_joules(joules: float) -> str:
    """Formats ``1.20 J``, ``34.0 mJ``, ``5.60 uJ``."""
    for scale, unit in ((1.0, "J"), (1e-3, "mJ")):
        if joules >= scale:
            return f"{joules / scale:.3g} {unit}"
    return f"{joules / 1e-6:.3g} uJ"


def _seconds(record: Record) -> float | None:
    """The clock that belongs to the device: CUDA events on a GPU, the host's clock on a CPU."""
    measured = record.measured
    clock = measured.event_time if record.point.device == "cuda" else measured.wall_time
    return clock.median_seconds if clock is not None and measured.outcome == "ok" else None


def _quartiles(record: Record) -> tuple[float, float] | None:
    measured = record.measured
    clock = measured.event_time if record.point.device == "cuda" else measured.wall_time
    if clock is None or measured.outcome != "ok":
        return None
    return clock.lower_quartile_seconds, clock.upper_quartile_seconds


def _bytes(record: Record) -> float | None:
    memory = record.measured.memory
    if memory is None or record.measured.outcome != "ok":
        return None
    return memory.model_bytes


def _ceiling(record: Record) -> float | None:
    share, measured = record.share_of_ceiling, record.measured
    if share is None or measured.outcome != "ok":
        return None
    return share * done_share(record.point, measured.attention_kernel)


def _fed_tokens(record: Record) -> int:
    return record.point.tokens * record.point.batch_size


def _seconds_per_token(record: Record) -> float | None:
    seconds = _seconds(record)
    return None if seconds is None else seconds / _fed_tokens(record)


def _joules_per_token(record: Record) -> float | None:
    joules = record.measured.energy_joules
    if joules is None or record.measured.outcome != "ok":
        return None
    return joules / _fed_tokens(record)


TIME = Quantity(
    "iteration time",
    "step_seconds",
    _seconds,
    format_seconds,
    "faster",
    seconds_now,
    seconds_before,
    _quartiles,
)
MEMORY = Quantity(
    "memory",
    "peak_bytes",
    _bytes,
    format_bytes,
    predicted=peak_now,
    predicted_before=peak_before,
)
CEILING = Quantity("share of the matmul ceiling", "share_of_ceiling", _ceiling, format_percent)
TIME_PER_TOKEN = Quantity(
    "time per token", "seconds_per_token", _seconds_per_token, format_seconds, "faster"
)
ENERGY_PER_TOKEN = Quantity(
    "energy per token", "joules_per_token", _joules_per_token, format_joules
)
