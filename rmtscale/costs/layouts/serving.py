"""Seconds to write one token on a cluster, after a prompt was read."""

from __future__ import annotations

from rmtscale.costs.layouts.collectives import Collective
from rmtscale.costs.layouts.memory import GpuTerm, gpu_memory
from rmtscale.costs.layouts.rank_weights import rank_weights
from rmtscale.costs.layouts.seconds import LINK_RANGE, MEASURED_RANGE, StepTime
from rmtscale.costs.layouts.stages import stage_layers
from rmtscale.costs.layouts.traffic import collective_seconds
from rmtscale.costs.time.constants import BANDWIDTH, TimeConstants
from rmtscale.costs.time.constants_file import known_constants
from rmtscale.costs.time_range import TimeRange
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.layout import Layout
from rmtscale.specs.link_speed import ALL_REDUCE, SEND
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload


def decode_range(seconds: float, step: StepTime) -> TimeRange:
    """Returns the range of one token's seconds: as wide as a step lets its widest part be."""
    measured = step.measured_device and step.measured_links
    wide = MEASURED_RANGE if measured else LINK_RANGE
    return TimeRange(seconds / wide, seconds * wide)


def decode_seconds(
    model: ModelSpec,
    workload: Workload,
    layout: Layout,
    cluster: Cluster,
    recurrence: Recurrence | None = None,
    constants: TimeConstants | None = None,
) -> float:
    """Returns the seconds of one token for each sequence; kernels are started as one graph.

    A rank reads its weights and its part of the keys and values once, stage after stage; each
    layer waits for two sums of tensor parallelism and, with its positions cut, for one of
    attention.
    """
    memory = gpu_memory(model, workload, layout, recurrence)
    cache = sum(term.amount for term in memory.terms if term.name == GpuTerm.CACHE)
    read = rank_weights(model, layout, recurrence).whole * workload.weight_bytes + cache
    stage = read / (known_constants(cluster.device) if constants is None else constants)[BANDWIDTH]
    layers, w = stage_layers(model, layout), workload.dtype_bytes
    rows = -(-workload.batch_size // layout.dp) * model.width
    sums = [Collective(ALL_REDUCE, "tp", layout.tp, 2 * layers, 2 * layers * rows, w, "layer")]
    sums.append(Collective(ALL_REDUCE, "cp", layout.cp, layers, layers * rows, w, "layer"))
    sums.append(Collective(SEND, "pp", layout.pp, 1, rows, w, "stage"))
    stage += sum(collective_seconds(one, cluster, layout) for one in sums if one.ranks > 1)
    return layout.pp * stage
