"""Seconds of a step on a cluster: arithmetic, communication that it does not hide, and bubbles.

FSDP2's gathers and scatters hide behind the arithmetic of the layers before and after, as far as
the host is ahead of it, a ring's sends behind its attention, and nothing else hides. Tensor
parallelism waits for its sums, stages wait for each other, and gradients that no FSDP2 scatters are
summed at the end.
The range lets arithmetic be a fifth faster or slower and links half as fast again or as slow; what
was measured, 15 %; a host half as fast again or half as fast.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.layouts.collectives import Collective, count_collectives
from rmtscale.costs.layouts.pace import (
    Reached,
    layer_seconds,
    optimizer_seconds,
    outer_seconds,
)
from rmtscale.costs.layouts.rank_kernels import NOTHING, Cut, Spent
from rmtscale.costs.layouts.rank_weights import rank_weights
from rmtscale.costs.layouts.stages import pipeline_slots, stage_layers, visits
from rmtscale.costs.layouts.torch_ring import ring_bytes
from rmtscale.costs.layouts.traffic import collective_seconds
from rmtscale.costs.time.constants import (
    BANDWIDTH,
    FASTER_HOST,
    FORWARD_OPERATOR,
    HOST_SPREAD,
    TimeConstants,
)
from rmtscale.costs.time.constants_file import known_constants
from rmtscale.costs.time.device_time import DeviceTime, power_factor
from rmtscale.costs.time.step_time import overlapped
from rmtscale.costs.time_range import TimeRange
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.layout import Layout
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import FP32_BYTES
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

ARITHMETIC_RANGE, LINK_RANGE, MEASURED_RANGE = 1.2, 1.5, 1.15
FSDP_OPERATORS = 41
"""Operators that a host starts in the time in which it starts one of FSDP2's gathers or scatters,
with the hooks around it: a GPT-2's RMT on two H200, FSDP2 against DDP (profiles/nvidia-h200-x2)."""
DTENSOR_OPERATORS = 86
"""And one sum of tensor parallelism, with all that torch's DTensor adds to the operators before it:
an RMT of Llama 3.2 1B, on the same machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Seconds of one step by what they go to; all that waits is in the sum."""

    arithmetic: float
    """On the busiest stage."""
    tensor: float = 0.0
    """Sums of tensor parallelism, exchanges of experts."""
    context: float = 0.0
    weights: float = 0.0
    """Gathers and scatters of FSDP2 that the arithmetic does not hide."""
    stages: float = 0.0
    """Sends from stage to stage."""
    bubble: float = 0.0
    """A stage waits for others."""
    gradients: float = 0.0
    """Sums at the end of the step."""
    optimizer: float = 0.0
    gpus: int
    tokens: int
    measured_device: bool = False
    """Whether arithmetic is from constants that were measured of this GPU."""
    host: float = 0.0
    """Seconds in which the host starts all of it, which arithmetic and optimizer wait for where it
    is slower; 0 where nothing is known of it. Its speed changes by a factor of two."""
    device: float = 0.0
    """Seconds of arithmetic and optimizer on the device alone."""
    measured_links: bool = False

    @property
    def seconds(self) -> float:
        return self.arithmetic + self.optimizer + self._links() + self.bubble

    @property
    def busy(self) -> float:
        """Share of the step in which the busiest stage calculates."""
        return (self.arithmetic + self.optimizer) / self.seconds

    @property
    def range(self) -> TimeRange:
        """Seconds, at least and at most."""
        wide = MEASURED_RANGE if self.measured_device else ARITHMETIC_RANGE
        links = MEASURED_RANGE if self.measured_links else LINK_RANGE
        least = most = self.arithmetic + self.optimizer
        if self.host:
            least = overlapped(self.host / FASTER_HOST * wide, self.device)
            most = overlapped(self.host * HOST_SPREAD / wide, self.device)
        return TimeRange(
            (least + self.bubble) / wide + (self._links() - self.gradients) / links,
            (most + self.bubble) * wide + self._links() * links,
        )

    @property
    def host_bound(self) -> bool:
        """Whether the host takes longer than the device."""
        return self.host > self.device

    @property
    def gpu_seconds_per_token(self) -> float:
        """Seconds of one GPU that one token costs."""
        return self.seconds * self.gpus / self.tokens

    @property
    def gpu_seconds_range(self) -> TimeRange:
        """Seconds of one GPU that one token costs, at least and at most."""
        return TimeRange(*(end * self.gpus / self.tokens for end in self.range))

    def _links(self) -> float:
        return self.tensor + self.context + self.weights + self.stages + self.gradients


def step_time(
    model: ModelSpec,
    workload: Workload,
    layout: Layout,
    cluster: Cluster,
    recurrence: Recurrence | None = None,
    constants: TimeConstants | None = None,
    *,
    reached: Reached | None = None,
    every_layer: bool = False,
) -> StepTime:
    """Returns the seconds of one training step, or one pass, of the whole batch.

    Args:
        constants: of the device; else those that are known of it.
        reached: shares of the peak that kernels of another time reach.
        every_layer: an RMT with a state in every layer, which can be pipelined at any batch.

    Raises:
        BadInput: the device has no peak for the dtype, or a segment cannot be.
    """
    constants = known_constants(cluster.device) if constants is None else constants
    layers = stage_layers(model, layout)
    rows = layout.micro_batches(workload.batch_size)
    inside, outside, attention = NOTHING, NOTHING, 0.0
    sent = count_collectives(model, workload, layout, recurrence)
    for run in visits(model, workload, layout, recurrence):
        whole = run.size * layout.cp
        cut = Cut(layout.micro_batch, whole, layout.tp, layout.cp, layout.sequence_parallel)
        given = (model, workload, constants, cut, reached, layout.recompute)
        each = layer_seconds(*given, summed_bytes(workload, layout, recurrence))
        back = each.backward.plus(each.again).plus(each.sums)
        spent = each.forward.times(run.forward).plus(back.times(run.backward))
        if run.first:  # its gradient is added to none
            spent = spent.plus(each.once.times(rows)).plus(each.sums.times(-1))
        inside = inside.plus(spent.times(layers))
        times = 2.5 + (layout.recompute == "full")
        attention += layers * each.attention * (run.forward + times * run.backward)
        if workload.train or recurrence is None:
            text = run.text * layout.cp if workload.train else layout.micro_batch
            segment = recurrence is not None
            head = outer_seconds(model, workload, constants, cut, text, reached, segment=segment)
            outside = outside.plus(head[0].times(run.forward)).plus(head[1].times(run.backward))
    inside = inside.plus(Spent(ring_bytes(model, workload, layout) / constants[BANDWIDTH]))
    made = inside.plus(outside)
    if made.host:
        more = Spent(0.0, 0.0, started_operators(sent) * constants[FORWARD_OPERATOR])
        made, inside = made.plus(more), inside.plus(more)

    def took(*axes: str, when: str | None = None) -> float:
        return sum(
            collective_seconds(one, cluster, layout)
            for one in sent
            if one.axis in axes and (when is None or one.when == when)
        )

    tensor, context = took("tp", "ep"), took("cp")
    if layout.cp > 1 and layout.context == "ring":
        context = max(0.0, context - attention)
    weights = _not_hidden(sent, cluster, layout, max(0.0, made.seconds - made.host))
    stages, gradients = took("pp"), took("data", when="step")
    step = NOTHING
    if workload.train:
        step = _optimizer(model, workload, layout, recurrence, constants)
    segments = 1 if recurrence is None else recurrence.segments(model, workload.tokens)
    slots = pipeline_slots(layout.pp, segments, rows, every_layer=every_layer)
    waiting = (slots - segments * rows) / layout.virtual_stages / (segments * rows)
    links = tensor + context + weights + stages
    elapsed = (made.seconds + links) * (1 + waiting) + gradients + step.seconds
    device = DeviceTime(workload.dtype, made.seconds + step.seconds, 0.0, 0.0, made.dense)
    cap = power_factor(device, elapsed, constants)
    arithmetic = overlapped(made.host, cap * made.seconds)
    both = made.plus(step)
    # The stages before the last have no head.
    before = inside if layout.pp > 1 else made
    busy = overlapped(before.host, cap * before.seconds) + links
    return StepTime(
        arithmetic=arithmetic,
        tensor=tensor,
        context=context,
        weights=weights,
        stages=stages,
        bubble=waiting * busy,
        gradients=gradients,
        optimizer=overlapped(both.host, cap * both.seconds) - arithmetic,
        gpus=layout.gpus,
        tokens=workload.batch_size * workload.tokens,
        measured_device=constants.measured,
        host=both.host,
        device=cap * both.seconds,
        measured_links=cluster.measured,
    )


def summed_bytes(workload: Workload, layout: Layout, recurrence: Recurrence | None = None) -> int:
    """Returns the bytes that are moved for a weight to add its gradient to an earlier one's.

    The new one is read, and the sum read and written. FSDP2 adds up shards, next to nothing, but
    for an RMT whose segments are one graph.
    """
    one_graph = recurrence is not None and not layout.state_by_state
    if layout.zero == 3 and layout.shards > 1 and layout.pp == 1 and not one_graph:
        return 0
    wide = FP32_BYTES if layout.fp32_gradients else workload.weight_bytes
    return workload.dtype_bytes + 2 * wide


def started_operators(sent: tuple[Collective, ...]) -> int:
    """Returns how many operators a host could start in the time that it spends on collectives."""
    weights = sum(one.calls for one in sent if one.when == "weights")
    sums = sum(one.calls for one in sent if one.axis == "tp" and one.when == "layer")
    return weights * FSDP_OPERATORS + sums * DTENSOR_OPERATORS


def _optimizer(
    model: ModelSpec,
    workload: Workload,
    layout: Layout,
    recurrence: Recurrence | None,
    constants: TimeConstants,
) -> Spent:
    """The optimizer over what a rank steps on."""
    mine = rank_weights(model, layout, recurrence).stepped
    share = mine / rank_weights(model, Layout(), recurrence).stepped
    memory_tokens = 0 if recurrence is None else recurrence.memory_tokens
    return optimizer_seconds(model, workload, constants, mine, share, memory_tokens)


def _not_hidden(
    sent: tuple[Collective, ...], cluster: Cluster, layout: Layout, arithmetic: float
) -> float:
    """Seconds of FSDP2's traffic that stick out: the first gather, and all that takes longer."""
    ahead = [one for one in sent if one.when == "weights"]
    if not ahead:
        return 0.0
    seconds = sum(collective_seconds(one, cluster, layout) for one in ahead)
    first = seconds / sum(one.calls for one in ahead)
    return max(2 * first, seconds - arithmetic)
