"""Counts what a rank sends in a training step or a pass: calls and elements by kind.

Elements are those of the larger side of a call: what a gather makes, what a reduce-scatter reads.
The counts are those of torch: FSDP2 with a group a layer and one for the rest, tensor parallelism
as Megatron-LM cuts it (Shoeybi et al. 2019, section 3; with sequence parallelism Korthikanti et
al. 2022, section 4.2.2), and the ways of context parallelism. A test counts all of them at
the dispatcher.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rmtscale.costs.layouts.recompute import BY_OPERATOR
from rmtscale.costs.layouts.shards import held, layer_weights, memory_weight, outer_weights
from rmtscale.costs.layouts.stages import Visits, stage_layers, visits
from rmtscale.costs.layouts.torch_ring import in_torch, rank_numbers, ring_passes
from rmtscale.specs.layout import Layout
from rmtscale.specs.link_speed import ALL_REDUCE, EXCHANGE, GATHER, REDUCE, SEND
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import FP32_BYTES
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

_COUNT_BYTES = 8
"""Bytes of one count of segments."""


class Collective(NamedTuple):
    """Equal calls of one kind, of one rank, in a whole step."""

    kind: str
    axis: str
    """The ranks that take part: ``tp``, ``cp``, ``pp``, ``ep`` or ``data`` (``dp`` and ``cp``)."""
    ranks: int
    calls: int
    elements: int
    """Sum over all calls."""
    number_bytes: int
    when: str
    """``layer`` (in each layer, forward or backward), ``weights`` (ahead of time, beside the
    arithmetic), ``stage`` (from stage to stage) or ``step`` (once, at its end)."""

    @property
    def bytes(self) -> int:
        return self.elements * self.number_bytes


def count_collectives(
    model: ModelSpec, workload: Workload, layout: Layout, recurrence: Recurrence | None = None
) -> tuple[Collective, ...]:
    """Returns all that a rank of the busiest stage sends in one step; empty kinds are left out.

    Args:
        workload: its batch size is that of the whole step, on all ranks together.
    """
    found = (
        *_tensor(model, workload, layout, recurrence),
        *_context(model, workload, layout),
        *_experts(model, workload, layout, recurrence),
        *_data(model, workload, layout, recurrence),
        *_pipeline(model, workload, layout, recurrence),
    )
    return tuple(one for one in found if one.calls and one.ranks > 1)


def summed(collectives: tuple[Collective, ...]) -> dict[str, tuple[int, int]]:
    """Returns calls and elements by kind, as a counter at the dispatcher has them."""
    sums: dict[str, tuple[int, int]] = {}
    for one in collectives:
        calls, elements = sums.get(one.kind, (0, 0))
        sums[one.kind] = (calls + one.calls, elements + one.elements)
    return sums


def _tensor(
    model: ModelSpec, workload: Workload, layout: Layout, recurrence: Recurrence | None
) -> Iterator[Collective]:
    """Tensor parallelism: two sums a layer forward, two backward; or as gathers and scatters."""
    if layout.tp == 1:
        return
    layers, w = stage_layers(model, layout), workload.dtype_bytes
    for run in visits(model, workload, layout, recurrence):
        rows = layout.micro_batch * run.size * model.width
        # torch stops recomputing before a layer's last matrix, unless a dropout follows it.
        remade = run.backward if layout.recompute in BY_OPERATOR else run.recomputed
        again = remade * (1 + _dropout(model, workload))
        forward, backward = 2 * layers * run.forward, 2 * layers * run.backward
        more = layers * again
        if layout.sequence_parallel and layout.recompute in BY_OPERATOR:
            more = 0  # its policies keep what was scattered
        if not layout.sequence_parallel:
            calls = forward + backward + more
            yield _of(ALL_REDUCE, layout, calls, rows, w)
            outer = (run.forward + run.backward) * layout.shard_vocabulary
            yield _of(ALL_REDUCE, layout, outer, rows, w)
        else:
            # Each gather of the forward pass is a scatter backward, and the other way round.
            gathers = forward + backward + 2 * layers * remade
            entry = run.forward + run.backward  # gathered for the head, and for the embedding
            yield _of(GATHER, layout, gathers + entry, rows, w)
            yield _of(REDUCE, layout, forward + backward + more, rows, w)
            if workload.train:
                norms = 2 * layers + model.final_norm
                norms *= 2 if model.norm == "layer" else 1
                # Summed with FSDP2 whenever it hands a gradient over, else at the end of the step.
                often = run.backward if layout.zero == 3 and layout.shards > 1 else run.first
                often = often if layout.state_by_state else run.first
                yield _of(ALL_REDUCE, layout, norms * often, model.width, w)
        if layout.shard_vocabulary and workload.train:  # largest logit, sum, the target's
            scored = 3 * run.backward
            text = layout.micro_batch * run.text
            yield _of(ALL_REDUCE, layout, scored, text, FP32_BYTES)


def _dropout(model: ModelSpec, workload: Workload) -> bool:
    return workload.dropout is not False and model.hidden_dropout > 0


def _of(kind: str, layout: Layout, calls: int, each: int, width: int) -> Collective:
    return Collective(kind, "tp", layout.tp, calls, calls * each, width, "layer")


def _context(model: ModelSpec, workload: Workload, layout: Layout) -> Iterator[Collective]:
    """Context parallelism of full attention, in every layer of every micro-batch."""
    c = layout.cp
    if c == 1:
        return
    w, local = workload.dtype_bytes, -(-workload.tokens // c)
    each = layout.micro_batch * local
    query, kv = model.query_width // layout.tp, model.kv_width // layout.tp
    passes = ring_passes(model, workload, layout)
    forward, backward = passes

    def of(kind: str, calls: int, elements: int) -> Collective:
        return Collective(kind, "cp", c, calls, elements, w, "layer")

    if layout.context == "gather":
        yield of(GATHER, 2 * forward, forward * 2 * each * c * kv)
        yield of(REDUCE, 2 * backward, backward * 2 * each * c * kv)
    elif layout.context == "alltoall":
        yield of(EXCHANGE, 4 * passes.both, passes.both * each * (2 * query + 2 * kv))
    elif in_torch(layout):  # gradients in fp32 from rank to rank
        pair = 2 * rank_numbers(model, workload, layout)
        if layout.context == "torch":  # a gather a pass
            yield of(GATHER, passes.both, passes.both * c * pair)
        else:
            yield of(SEND, (c - 1) * passes.both, (c - 1) * passes.both * pair)
        hops = c * backward
        yield Collective(SEND, "cp", c, hops, hops * pair, FP32_BYTES, "layer")
    else:  # backward, keys and values travel once more, and their gradients with them
        hops = (c - 1) * forward + ((c - 1) + c) * backward
        yield of(SEND, 2 * hops, hops * 2 * each * kv)


def _experts(
    model: ModelSpec, workload: Workload, layout: Layout, recurrence: Recurrence | None
) -> Iterator[Collective]:
    """Expert parallelism: tokens go to their experts and come back, forward and backward."""
    if layout.ep == 1:
        return
    from rmtscale.costs.grouped_experts import experts_of

    block = experts_of(model)
    active = 1 if block is None else block.active
    layers = stage_layers(model, layout)
    for run in visits(model, workload, layout, recurrence):
        calls = 2 * layers * (run.forward + run.recomputed + run.backward)
        each = layout.micro_batch * run.size * active * model.width
        yield Collective(
            EXCHANGE, "ep", layout.ep, calls, calls * each, workload.dtype_bytes, "layer"
        )


def _data(
    model: ModelSpec, workload: Workload, layout: Layout, recurrence: Recurrence | None
) -> Iterator[Collective]:
    """Gradients summed over all that have the same weights; sharded weights gathered."""
    ranks = layout.shards
    if ranks == 1:
        return
    # FSDP2 gathers what matmuls read; gradients are summed as wide as the weights, or in fp32.
    w = min(workload.weight_bytes, workload.dtype_bytes)
    wide = FP32_BYTES if layout.fp32_gradients else workload.weight_bytes
    layers = stage_layers(model, layout)
    memory = () if recurrence is None else memory_weight(model, recurrence.memory_tokens)
    front, behind = outer_weights(model)
    layer = held(layer_weights(model), layout)
    rest = held((*front, *(() if layout.pp > 1 else behind), *memory), layout)
    if layout.zero < 3:
        if not workload.train:
            return
        numbers = layers * layer.whole + rest.whole
        if layout.zero == 0:
            yield Collective(ALL_REDUCE, "data", ranks, 1, numbers, wide, "step")
            return
        numbers = -(-numbers // ranks) * ranks
        yield Collective(REDUCE, "data", ranks, 1, numbers, wide, "step")
        yield Collective(GATHER, "data", ranks, 1, numbers, w, "step")
        return
    forward = backward = graphs = reduced = 0
    micro_batches = layout.micro_batches(workload.batch_size)
    for run in visits(model, workload, layout, recurrence):
        forward, backward = forward + run.forward, backward + run.backward
    graphs = backward if layout.state_by_state else micro_batches
    reduced = graphs * workload.train
    if layout.pp > 1:
        # Gathered once for all micro-batches and reduced behind the last, as torchtitan does.
        forward, backward, graphs, reduced = 1, 0, 1, int(workload.train)
        micro_batches = 1
    # Only the first segment differentiates the first state.
    unused = (reduced - micro_batches * workload.train) * held(memory, layout).padded
    gathers = layers * (forward + backward)
    alone = micro_batches * (recurrence is not None and workload.train and layout.pp == 1)
    if alone:
        # An RMT's first state is made before its segments and differentiated behind them: what is
        # outside the layers is gathered once more for it, and it is reduced by itself. And all
        # ranks make sure that they have as many segments.
        yield Collective(ALL_REDUCE, "data", ranks, alone, 2 * alone, _COUNT_BYTES, "weights")
    yield Collective(
        GATHER,
        "data",
        ranks,
        gathers + graphs + alone,
        gathers * layer.padded + (graphs + alone) * rest.padded,
        w,
        "weights",
    )
    yield Collective(
        REDUCE,
        "data",
        ranks,
        reduced * (layers + 1) + alone,
        reduced * (layers * layer.padded + rest.padded) - unused,
        wide,
        "weights",
    )


def _pipeline(
    model: ModelSpec, workload: Workload, layout: Layout, recurrence: Recurrence | None
) -> Iterator[Collective]:
    """Hidden states from stage to stage, their gradients back; an RMT's state to the start.

    Each rank of ``tp`` sends its part. Without sequence parallelism what arrives is gathered then
    (Narayanan et al. 2021, section 4.1; DeepSpeed's ``PartitionedTensor``).
    """
    if layout.pp == 1:
        return
    w = workload.dtype_bytes
    for run in visits(model, workload, layout, recurrence):
        calls = layout.virtual_stages * (run.forward + run.backward)
        whole = layout.micro_batch * run.size * model.width
        each = -(-whole // layout.tp)
        yield Collective(SEND, "pp", layout.pp, calls, calls * each, w, "stage")
        if not layout.sequence_parallel:
            yield Collective(GATHER, "tp", layout.tp, calls, calls * whole, w, "stage")
    if recurrence is None or not recurrence.memory_tokens:
        return
    runs: list[Visits] = list(visits(model, workload, layout, recurrence))
    micro_batches = layout.micro_batches(workload.batch_size)
    handed = sum(run.forward + run.backward for run in runs)
    handed -= micro_batches * (1 + workload.train)  # nothing goes out of the last segment
    each = layout.micro_batch * recurrence.memory_tokens * model.embedding_width
    yield Collective(SEND, "pp", layout.pp, handed, handed * each, w, "stage")
