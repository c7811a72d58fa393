"""Time on a machine that was measured: the roofline with what it lacks, fitted once per machine.

::

    GPU  = matmuls / their efficiency + attention / its efficiency + other traffic * a factor
    host = operators * seconds to start one
    time = the slower of the two

Matmuls and fused attention are those of ``roofline`` at the vendor's peaks, other traffic is what
norms, activations, softmax and losses move: in proportion to what the backward pass would keep of
them. A captured segment is started as a whole; what its operators cost then is a number of its
own. The numbers of a machine come from half of its measured points and are held against the other
half (``rmtscale calibrate``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, NamedTuple

from rmtscale.costs.activations import FP32_BYTES, activation_rates, backbone_activations
from rmtscale.costs.operators import count_operators
from rmtscale.costs.passes import plan_passes
from rmtscale.costs.roofline import estimate_time
from rmtscale.costs.terms import ATTENTION_TERMS, FlopTerm
from rmtscale.errors import BadInput, quoted_list
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import KINDS, ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

_SCORED, _LOGITS = 6, 1
"""Times the logits are moved in a training step, and in a forward pass that keeps them."""
_WRITTEN = {"forward": 1, "train": 3}
"""Times what a layer makes is moved: written; in training read and answered by a gradient too."""
_STEPS = (2.0, 1.4, 1.2, 1.1, 1.05, 1.02, 1.01)


class Work(NamedTuple):
    """Splits a step by what its time goes to; seconds at the vendor's peaks."""

    dtype: str
    matmul_seconds: float
    attention_seconds: float
    """Time of fused attention; eager attention's matmuls are with the others."""
    traffic_seconds: float
    operators: int
    captured_operators: int
    """Operators inside captured graphs, which the host does not start one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Holds the constants of one machine. Efficiencies are shares of the vendor's peaks."""

    device: str
    operator_seconds: float = 2e-5
    captured_operator_seconds: float = 4e-6
    traffic_factor: float = 2.0
    matmul_efficiency: dict[str, float] = field(default_factory=dict)
    """Efficiency by dtype."""
    attention_efficiency: dict[str, float] = field(default_factory=dict)
    """Efficiency by dtype."""

    def require(self, model: ModelSpec, workload: Workload) -> None:
        """Refuses what it says nothing of.

        Raises:
            BadInput: a precision that nothing was measured in, adapters, micro-batches, an
                optimizer on the host, or a model whose operators are not counted.
        """
        known = sorted({*self.matmul_efficiency} & {*self.attention_efficiency})
        if workload.precision not in known:
            raise BadInput(
                f"precision {workload.precision!r}: expected {quoted_list(known)}, which the "
                f"calibration of {self.device} was measured in"
            )
        if workload.adapter or workload.accumulate > 1 or workload.offload_optimizer:
            raise BadInput(
                f"calibration of {self.device}: expected no adapters, no micro-batches and the "
                "optimizer on the device, nothing else was measured"
            )
        if isinstance(model, LayeredSpec):
            raise BadInput(
                f"calibration of {self.device}: expected a model of {quoted_list(KINDS)}, the "
                f"operators of a {model.kind} are not counted"
            )

    def seconds(self, work: Work) -> float:
        """The time of a step, in a dtype that was measured (``require``)."""
        gpu = (
            work.matmul_seconds / self.matmul_efficiency[work.dtype]
            + work.attention_seconds / self.attention_efficiency[work.dtype]
            + work.traffic_seconds * self.traffic_factor
        )
        host = work.operators * self.operator_seconds
        if work.captured_operators:  # one after another: captured segments, then what is left
            return max(gpu, work.captured_operators * self.captured_operator_seconds) + host
        return max(gpu, host)


def step_work(
    model: ModelSpec,
    workload: Workload,
    device: DeviceSpec,
    recurrence: Recurrence | None = None,
    *,
    cuda_graph: bool = False,
) -> Work:
    """Splits the time of ``workload`` on ``device``.

    With ``cuda_graph`` every full segment of an RMT is captured; the shorter first one is not.

    Raises:
        BadInput: the device has no peak for the dtype, or a segment cannot be.
    """
    matmuls = attention = 0.0
    last = not workload.train and (workload.logits == "last" or recurrence is not None)
    terms = dict(estimate_time(model, workload, device, recurrence).terms)
    optimizer = terms.pop("optimizer.step", 0.0)
    for name, seconds in terms.items():
        _, _, operation = name.partition(".")
        if operation == FlopTerm.HEAD and last and model.decoder:
            seconds /= workload.tokens  # noqa: PLW2901  (only the last token's)
        if operation in ATTENTION_TERMS and workload.attention == "sdpa":
            attention += seconds
        else:
            matmuls += seconds
    traffic = _other_traffic_bytes(model, workload, recurrence, last=last)
    operators, captured = count_operators(model, workload, recurrence), 0
    if cuda_graph and recurrence is not None:
        runs = [run.runs for run in plan_passes(model, workload, recurrence)]
        captured = operators * runs[0] // sum(runs)
        operators -= captured
    return Work(
        workload.dtype,
        matmuls,
        attention,
        optimizer + traffic / device.bandwidth_bytes_per_second,
        operators,
        captured,
    )


@lru_cache(maxsize=65536)
def _other_traffic_bytes(
    model: ModelSpec, workload: Workload, recurrence: Recurrence | None, *, last: bool
) -> int:
    kept = replace(
        workload, mode="train", cache=False, checkpoint_segments=False, checkpoint_layers=False
    )
    if not workload.train:
        kept = replace(kept, dropout=False)
    batch = workload.batch_size
    rates = activation_rates(model, kept, batch)
    made = 0
    for run in plan_passes(model, workload, recurrence):
        saved = backbone_activations(model, kept, rates, batch, run.size_tokens)
        made += run.runs * (saved.attention + saved.other)
    recomputed = workload.checkpoint_layers or (
        workload.checkpoint_segments and recurrence is not None
    )
    moved = made * (_WRITTEN[workload.mode] + recomputed)
    if model.head == "language-model" and not last:
        logits = batch * workload.tokens * model.vocabulary * FP32_BYTES
        moved += logits * (_SCORED if workload.train else _LOGITS)
    return moved


def fit_calibration(device: str, measured: Sequence[tuple[Work, float]]) -> Calibration:
    """The calibration whose times are nearest to the measured ones.

    Least sum of |log(predicted / measured)|, by coordinate descent with shrinking steps from a
    fixed start: the same points always give the same numbers.

    Args:
        measured: what each step consisted of, and its seconds; at least one.
    """
    dtypes = sorted({work.dtype for work, _ in measured})
    best = Calibration(
        device=device,
        matmul_efficiency=dict.fromkeys(dtypes, 0.6),
        attention_efficiency=dict.fromkeys(dtypes, 0.5),
    )
    least = _distance(best, measured)
    for step in _STEPS:
        moved = True
        while moved:
            moved = False
            for factor in (step, 1 / step):
                for candidate in _neighbours(best, factor):
                    distance = _distance(candidate, measured)
                    if distance < least - 1e-9:
                        best, least, moved = candidate, distance, True
                        break
    return best


def _distance(calibration: Calibration, measured: Sequence[tuple[Work, float]]) -> float:
    return sum(abs(math.log(calibration.seconds(work) / found)) for work, found in measured)


def _neighbours(one: Calibration, factor: float) -> list[Calibration]:
    """Moves one number of a calibration; an efficiency is at most 1."""
    moved = []
    for which in fields(one):
        value: Any = getattr(one, which.name)
        changed: list[Any] = []
        if isinstance(value, float):
            changed = [value * factor]
        elif isinstance(value, dict):
            changed = [value | {key: min(1.0, part * factor)} for key, part in value.items()]
        moved += [replace(one, **{which.name: number}) for number in changed]
    return moved
