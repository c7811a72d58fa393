"""Seconds of a step on a cluster: arithmetic, communication that it does not hide, and bubbles.

FSDP2's gathers and scatters hide behind the arithmetic of the layers before and after, a ring's
sends behind its attention, and nothing else hides. Tensor parallelism waits for its sums, stages
wait for each other, and gradients that no FSDP2 scatters are summed at the end.
The range lets arithmetic be a fifth faster or slower and links half as fast again or as slow; what
was measured, 15 %.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.activations import fused_attention
from rmtscale.costs.layouts.collectives import Collective, count_collectives, stage_layers
from rmtscale.costs.layouts.memory import rank_weights
from rmtscale.costs.layouts.pace import (
    Cut,
    Reached,
    layer_seconds,
    optimizer_seconds,
    outer_seconds,
)
from rmtscale.costs.layouts.stages import pipeline_slots, visits
from rmtscale.costs.layouts.traffic import collective_seconds
from rmtscale.costs.time.constants import TimeConstants
from rmtscale.costs.time.constants_file import known_constants
from rmtscale.costs.time_range import TimeRange
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.layout import Layout
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

ARITHMETIC_RANGE, LINK_RANGE, MEASURED_RANGE = 1.2, 1.5, 1.15


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
        counted = self.arithmetic + self.optimizer + self.bubble
        return TimeRange(
            counted / wide + (self._links() - self.gradients) / links,
            counted * wide + self._links() * links,
        )

    @property
    def gpu_seconds_per_token(self) -> float:
        """Seconds of one GPU that one token costs."""
        return self.seconds * self.gpus / self.tokens

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
    fused = fused_attention(model, workload)
    arithmetic = inside = attention = 0.0
    for run in visits(model, workload, layout, recurrence):
        whole = run.size * layout.cp
        cut = Cut(layout.micro_batch, whole, layout.tp, layout.cp, layout.sequence_parallel)
        each = layer_seconds(model, workload, constants, cut, reached)
        again = run.recomputed * each.forward
        if layout.recompute == "selective":
            again = run.backward * (each.elementwise if fused else each.attention)
        inside += layers * (run.forward * each.forward + run.backward * each.backward + again)
        attention += layers * each.attention * (run.forward + 2.5 * run.backward + run.recomputed)
        if workload.train or recurrence is None:
            text = run.text * layout.cp if workload.train else layout.micro_batch
            head = outer_seconds(model, workload, constants, cut, text, reached)
            arithmetic += head * (run.forward + 2 * run.backward)
    arithmetic += inside
    sent = count_collectives(model, workload, layout, recurrence)

    def took(*axes: str, when: str | None = None) -> float:
        return sum(
            collective_seconds(one, cluster, layout)
            for one in sent
            if one.axis in axes and (when is None or one.when == when)
        )

    tensor, context = took("tp", "ep"), took("cp")
    if layout.cp > 1 and layout.context == "ring":
        context = max(0.0, context - attention)
    weights = _not_hidden(sent, cluster, layout, arithmetic)
    stages = took("pp")
    busy = arithmetic + tensor + context + weights
    segments = 1 if recurrence is None else recurrence.segments(model, workload.tokens)
    rows = layout.micro_batches(workload.batch_size)
    slots = pipeline_slots(layout.pp, segments, rows, every_layer=every_layer)
    waiting = (slots - segments * rows) / layout.virtual_stages / (segments * rows)
    return StepTime(
        arithmetic=arithmetic,
        tensor=tensor,
        context=context,
        weights=weights,
        stages=stages,
        # The stages before the last have no head.
        bubble=waiting * (busy - (arithmetic - inside) * (layout.pp > 1) + stages),
        gradients=took("data", when="step"),
        optimizer=optimizer_seconds(constants, rank_weights(model, layout, recurrence).stepped)
        * workload.train,
        gpus=layout.gpus,
        tokens=workload.batch_size * workload.tokens,
        measured_device=constants.measured,
        measured_links=cluster.measured,
    )


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
