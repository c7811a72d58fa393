"""A lower bound of the time on a device: each operation takes its arithmetic or its traffic.

Williams et al. 2009: an operation cannot be faster than its FLOPs over the peak, nor than its
bytes over the bandwidth. The bound of a step is the sum over its operations, one after another.
Real kernels reach a part of either peak, and short segments are bound by the host that
starts their operators, which this leaves out; ``rmtscale profile`` measures by how much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from rmtscale.costs.conventions import pass_terms
from rmtscale.costs.design import Design, resolve_design
from rmtscale.costs.flops import term_is_recomputed
from rmtscale.costs.methods.method import Method
from rmtscale.costs.optimizers import TRAFFIC_NUMBERS
from rmtscale.costs.parameters import count_parameters
from rmtscale.costs.passes import Pass, plan_passes
from rmtscale.costs.terms import PassTerm
from rmtscale.costs.weights import require_weights, saved_traffic_bytes
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.workload import Workload
from rmtscale.tabular import Printed, to_frame
from rmtscale.units import format_seconds

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class TimeEstimate(Printed):
    """A lower bound in seconds, and what it is made of."""

    terms: dict[str, float]
    """Seconds by phase and operation: ``{"forward.qkv": 0.01, ...}``."""
    arithmetic_seconds: float
    """The share of operations whose FLOPs take longer than their bytes."""

    @property
    def seconds(self) -> float:
        return sum(self.terms.values())

    @property
    def bound(self) -> str:
        """Names what limits most of the time: ``arithmetic`` or ``bandwidth``."""
        return "arithmetic" if 2 * self.arithmetic_seconds >= self.seconds else "bandwidth"

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Returns the terms and their sum, as text."""
        rows = [[name, format_seconds(seconds)] for name, seconds in self.terms.items()]
        return ["term", "at least"], [*rows, ["sum", format_seconds(self.seconds)]]

    def to_frame(self) -> pd.DataFrame:
        """Returns the terms as a frame: columns ``phase``, ``name``, ``seconds``."""
        rows = []
        for key, seconds in self.terms.items():
            phase, _, name = key.partition(".")
            rows.append({"phase": phase, "name": name, "seconds": seconds})
        return to_frame(rows)


class _Roof(NamedTuple):
    seconds: float
    arithmetic: bool


def estimate_time(
    model: ModelSpec,
    workload: Workload,
    device: DeviceSpec,
    recurrence: Design = None,
) -> TimeEstimate:
    """The roofline time of one workload on ``device``.

    FLOPs are those of the ``matmul`` convention, but with ``sdpa`` a decoder's attention counts
    half the square: fused causal kernels skip what lies above the diagonal. fp32 is plain fp32
    (TF32 off). Backward is two times forward; an optimizer is all traffic. What no tensor core
    does (an FFT, a scan) is held against the fp32 peak.

    Raises:
        BadInput: the device has no peak for the dtype, a segment cannot be, or the backbone
            cannot have the method.
    """
    recurrence = resolve_design(model, workload, recurrence)
    require_weights(model, device, train=workload.train)
    terms: dict[str, float] = {}
    arithmetic_seconds = 0.0
    for run, term, roof in _roofs(model, workload, device, recurrence):
        once = int(run.last)
        runs, backward_runs = (once, once) if term.once else (run.runs, run.backward_runs)
        repeats = {"forward": runs}
        if workload.train:
            repeats["backward"] = 2 * backward_runs * (term.backward_flops != 0)
            if term_is_recomputed(term, model, workload, recurrence, "matmul"):
                repeats["recompute"] = backward_runs
        for phase, times in repeats.items():
            if times:
                key = f"{phase}.{term.name}"
                seconds = times * workload.accumulate * roof.seconds
                terms[key] = terms.get(key, 0.0) + seconds
                arithmetic_seconds += seconds * roof.arithmetic
    if workload.train:
        elements = TRAFFIC_NUMBERS[workload.optimizer] * count_parameters(model).total
        if elements:
            traffic_bytes = elements * workload.dtype_bytes
            terms["optimizer.step"] = traffic_bytes / device.bandwidth_bytes_per_second
    return TimeEstimate(terms, arithmetic_seconds)


def _roofs(
    model: ModelSpec, workload: Workload, device: DeviceSpec, design: Design
) -> Iterator[tuple[Pass, PassTerm, _Roof]]:
    """Every operation of every pass, with the time of one forward run."""
    if isinstance(design, Method):
        tokens = workload.tokens
        positions = design.positions(model, tokens)
        whole = Pass(positions, tokens, 1, int(workload.train), last=True)
        for term in design.mixing(model, tokens):
            yield whole, term, _roof(model, workload, device, term, tokens)
        for term in design.outside(model, tokens):
            if term.flops:
                yield whole, term, _roof(model, workload, device, term, positions)
        return
    for run in plan_passes(model, workload, design):
        for term in pass_terms("matmul", model, run.size_tokens, run.text_tokens):
            roof = _roof(model, workload, device, term, run.size_tokens)
            yield run, term, roof


@lru_cache(maxsize=65536)
def _roof(
    model: ModelSpec, workload: Workload, device: DeviceSpec, term: PassTerm, tokens: int
) -> _Roof:
    """One forward operation of one pass, all layers and the whole batch.

    A method's matrices are read once, also where it reads the input piece by piece: at the pieces
    that the methods have (384 tokens or more) matmuls are bound by arithmetic in 16 bits.
    """
    fused = workload.attention == "sdpa"
    flops: float = term.flops * workload.batch_size
    if term.square and fused and model.decoder and term.causal:
        flops *= (tokens + 1) / (2 * tokens)
        if term.window and term.window < tokens:
            flops *= seen_pairs(tokens, term.window) / seen_pairs(tokens)
    peak = device.flops_per_second(workload.dtype if term.operator else "fp32")
    moved = moved_bytes(model, term, workload.batch_size, workload.dtype_bytes, fused=fused)
    arithmetic, traffic = flops / peak, moved / device.bandwidth_bytes_per_second
    return _Roof(max(arithmetic, traffic), arithmetic >= traffic)


def seen_pairs(tokens: int, window: int = 0) -> int:
    """Pairs that a causal mask leaves of ``tokens`` tokens, with a window or none."""
    near = min(tokens, window) if window else tokens
    return near * (near + 1) // 2 + (tokens - near) * near


def moved_bytes(
    model: ModelSpec, term: PassTerm, batch_size: int, dtype_bytes: int, *, fused: bool
) -> int:
    """Returns the bytes of ``moved_elements``; quantised weights are read as they are stored."""
    moved = moved_elements(term, batch_size, fused=fused) * dtype_bytes
    return moved - saved_traffic_bytes(model, term, _read_weights(term, batch_size), dtype_bytes)


def moved_elements(term: PassTerm, batch_size: int, *, fused: bool) -> int:
    """Returns the numbers an operation has to read and write once: its operands and its result."""
    each = term.elements + (0 if fused else term.square)
    return int(batch_size * each + _read_weights(term, batch_size))


def _read_weights(term: PassTerm, batch_size: int) -> int:
    """Counts the weights that are read: of a mixture, those of the experts that are used."""
    weights = term.weights
    if term.all_weights:
        weights = min(batch_size * weights, term.all_weights)
    return int(weights)
