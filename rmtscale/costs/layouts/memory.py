"""Memory of one GPU, as named terms: what the busiest rank of a layout holds at its peak.

Weights, gradients, fp32 copies and moments are cut as the layout says; what a rank's layers hold is
``rank_bytes``'s. FSDP2 gathers one layer ahead, holds one layer's whole gradient, and around an RMT
whose segments are one graph all of them, until the first segment has been differentiated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from rmtscale.costs.breakdown import Breakdown, Term
from rmtscale.costs.layouts.rank_bytes import RankBytes
from rmtscale.costs.layouts.rank_weights import RankWeights, rank_weights
from rmtscale.costs.optimizers import MOMENTS, state_bytes, work_bytes
from rmtscale.costs.parameter_shapes import Tensors
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layout import Layout
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import FP32_BYTES
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import format_bytes

AT_THE_LOSS = "where the loss is differentiated"
CONTEXT_BYTES = 768 * 2**20
"""A CUDA context with torch's kernels: 0.7 GiB on an H200."""
GROUP_BYTES = 256 * 2**20
"""NCCL's buffers and state of one group of ranks."""


class GpuTerm(StrEnum):
    """Names of the terms of one GPU's memory."""

    WEIGHTS = "weights"
    GRADIENTS = "gradients"
    MASTER = "master_weights"
    MOMENTS = "optimizer_state"
    ACTIVATIONS = "activations"
    HEAD = "logits_and_loss"
    STATE = "recurrent_state"
    CACHE = "keys_and_values"
    GATHERED = "gathered_weights"
    WHOLE_GRADIENTS = "whole_gradients"
    BUFFERS = "communication_buffers"
    WORKING_SET = "working_set"
    CONTEXT = "context_and_nccl"


@dataclass(frozen=True, slots=True)
class GpuMemory(Breakdown):
    """Bytes of the busiest GPU at its peak."""

    peak_at: str = ""

    def shown(self, amount: int) -> str:
        """Returns bytes as they are printed."""
        return format_bytes(amount)

    @property
    def tensors(self) -> int:
        """Bytes that torch allocates: all but the context and NCCL."""
        return sum(term.amount for term in self.terms if term.name != GpuTerm.CONTEXT)


def gpu_memory(
    model: ModelSpec,
    workload: Workload,
    layout: Layout,
    recurrence: Recurrence | None = None,
    device: DeviceSpec | None = None,
    *,
    profiled: bool = False,
    flattened: bool = False,
) -> GpuMemory:
    """Returns the memory of the busiest rank; with a device its context and NCCL too.

    Args:
        workload: its batch size is that of the whole step.
        profiled: as ``profile`` steps, like a plain loop around Hugging Face's module on one GPU:
            full attention's caller holds the output, logits included, until the backward pass is
            over, and with fp32 copies of the weights the optimizer steps on copies of all
            gradients too. Megatron-LM and its like free the logits and cast gradients one by one.
        flattened: as DeepSpeed's ZeRO of 16 bits steps (``runtime/zero/stage_1_and_2.py``): it
            flattens the gradients of its part, and casts all that to fp32 at once.

    Raises:
        BadInput: a segment that cannot be, or an activation that is not known.
    """
    numbers = rank_weights(model, layout, recurrence)
    w, wide = workload.dtype_bytes, workload.weight_bytes
    terms = {GpuTerm.WEIGHTS: numbers.stored * wide}
    part = RankBytes(model, workload, layout, recurrence)
    if not workload.train:
        fsdp = layout.zero == 3 and layout.shards > 1
        terms |= {
            GpuTerm.CACHE: part.cache_bytes(),
            GpuTerm.STATE: part.state_bytes(),
            GpuTerm.GATHERED: (2 * numbers.layer + numbers.outer) * w * fsdp,
            GpuTerm.BUFFERS: part.buffer_bytes(),
            GpuTerm.WORKING_SET: part.forward_bytes(),
        }
        return _memory(terms, layout, device, "inside a layer")
    master = workload.casts.master
    gradient = wide + FP32_BYTES * (layout.fp32_gradients and wide < FP32_BYTES)
    width = FP32_BYTES if master else wide
    tensors = (Tensors((numbers.stepped,)),)
    moments = MOMENTS.get(workload.optimizer)
    state = (
        state_bytes(workload.optimizer, tensors, width)
        if moments is None
        else moments * width * numbers.stepped
    )
    sharded = numbers.stored if layout.zero == 3 else numbers.stepped
    terms |= {
        GpuTerm.GRADIENTS: (sharded if layout.zero >= 2 else numbers.whole) * gradient,
        GpuTerm.MASTER: numbers.stepped * FP32_BYTES * master,
        GpuTerm.MOMENTS: state,
    }
    stepping = {**terms, GpuTerm.WORKING_SET: work_bytes(workload.optimizer, tensors, width)}
    if master and profiled:
        # fp32 copies of gradients, for which those in 16 bits go; DDP keeps them in its buckets.
        kept = terms[GpuTerm.GRADIENTS] * (layout.zero < 2 and layout.shards > 1)
        stepping[GpuTerm.GRADIENTS] = kept + numbers.stepped * FP32_BYTES
    if master and flattened:
        stepping[GpuTerm.GRADIENTS] = numbers.stepped * (2 * wide + FP32_BYTES)
    places = [("in the optimizer step", stepping)]
    inside = {
        **terms,
        GpuTerm.STATE: part.state_bytes(),
        GpuTerm.BUFFERS: part.buffer_bytes(),
        GpuTerm.ACTIVATIONS: part.kept_bytes(),
        GpuTerm.WORKING_SET: part.working_bytes(),
    }
    # The last stage, which has the head, keeps one micro-batch only.
    scored = {
        **inside,
        GpuTerm.ACTIVATIONS: part.kept_bytes(last=True),
        GpuTerm.HEAD: part.head_bytes() + part.held_bytes() * profiled,
        GpuTerm.WORKING_SET: 0,
    }
    alone = layout.shards == 1 and layout.micro_batches(workload.batch_size) == 1
    if alone and layout.pp == 1 and not layout.state_by_state:
        places += _places_alone(inside, scored, numbers, part)
    elif layout.zero < 3 or layout.shards == 1:
        places += [("in the last layer, backward", inside), (AT_THE_LOSS, scored)]
    else:
        places += _gathered_places(inside, scored, numbers, part)
    name, peak = max(places, key=lambda place: sum(place[1].values()))
    return _memory(peak, layout, device, name)


Amounts = dict[GpuTerm, int]


def _places_alone(
    inside: Amounts, scored: Amounts, numbers: RankWeights, part: RankBytes
) -> Iterator[tuple[str, Amounts]]:
    """The places of a step whose gradients appear one after another, and wait for nobody."""
    kept, wide = inside[GpuTerm.ACTIVATIONS], part.workload.weight_bytes
    early = (part.head_weights() + numbers.layer) * wide
    yield AT_THE_LOSS, scored | {GpuTerm.GRADIENTS: 0}
    yield "in the last layer, backward", inside | {GpuTerm.GRADIENTS: early}
    if part.one_graph and part.segments > 1:
        left = kept - kept // part.segments
        yield "in a later segment's last layer, backward", inside | {GpuTerm.ACTIVATIONS: left}
    yield "in the first layer, backward", inside | {GpuTerm.ACTIVATIONS: part.layer_bytes()}


def _gathered_places(
    inside: Amounts, scored: Amounts, numbers: RankWeights, part: RankBytes
) -> Iterator[tuple[str, Amounts]]:
    """The places of a step at which FSDP2 may peak.

    It gathers a layer while the one before is used, and holds the whole gradient of a layer until
    it is reduced: then once more in the buffer that is sent.
    """
    w, wide = part.w, part.workload.weight_bytes
    layer, every = numbers.layer * w, inside[GpuTerm.GRADIENTS]
    # Gradients of earlier micro-batches, or of later segments, are there already.
    more = part.layout.micro_batches(part.workload.batch_size) > 1
    more = more or (part.layout.state_by_state and part.segments > 1)
    head = part.head_weights() * w
    shard = numbers.layer_shard * wide
    buffers = inside[GpuTerm.BUFFERS]
    kept = inside[GpuTerm.ACTIVATIONS] - part.final_bytes()
    if part.layout.pp > 1:  # gathered once for all micro-batches, and reduced behind the last one
        whole = {GpuTerm.GATHERED: numbers.whole * w, GpuTerm.WHOLE_GRADIENTS: numbers.whole * w}
        yield AT_THE_LOSS, scored | whole | {GpuTerm.GRADIENTS: 0}
        yield "in the last layer, backward", inside | whole | {GpuTerm.GRADIENTS: 0}
        return
    gathered = inside | {GpuTerm.ACTIVATIONS: kept, GpuTerm.GATHERED: numbers.outer * w + 2 * layer}
    yield (
        AT_THE_LOSS,
        scored
        | {
            GpuTerm.GATHERED: numbers.outer * w + layer,
            GpuTerm.GRADIENTS: every * more,
        },
    )
    late = gathered | {GpuTerm.GRADIENTS: every * more}
    yield from _in_a_layer("the last layer", late, head, part)
    sent = {GpuTerm.BUFFERS: buffers + layer}
    if part.one_graph and part.segments > 1:
        # Segments add to gradients that stay whole until the first segment has been differentiated.
        least = kept // part.segments
        later = late | {GpuTerm.ACTIVATIONS: kept - least}
        yield from _in_a_layer("a later segment's last layer", later, numbers.whole * w, part)
        first = {
            GpuTerm.GRADIENTS: max(shard, every * more),
            GpuTerm.ACTIVATIONS: least - part.layer_bytes(),
        }
        # What is being sent has left the whole gradients.
        left = numbers.whole * w - layer
        yield from _in_a_layer("the first segment", late | sent | first, left, part)
        return
    second = {
        GpuTerm.GRADIENTS: max(shard, every * more),
        GpuTerm.ACTIVATIONS: kept - part.layer_bytes(),
    }
    yield from _in_a_layer("the last layer but one", late | sent | second, head, part)
    first = {
        GpuTerm.GRADIENTS: max(every - shard, every * more),
        GpuTerm.ACTIVATIONS: part.layer_bytes(),
    }
    yield from _in_a_layer("the first layer", late | sent | first, head, part)


def _in_a_layer(
    name: str, amounts: Amounts, whole: int, part: RankBytes
) -> Iterator[tuple[str, Amounts]]:
    """Both moments of a layer's backward pass, ``whole`` gradients there besides its own."""
    yield (
        f"in {name}'s feed-forward, backward",
        amounts | {GpuTerm.WHOLE_GRADIENTS: whole + part.matrix_weights() * part.w},
    )
    yield (
        f"in {name}'s attention, backward",
        amounts
        | {
            GpuTerm.WHOLE_GRADIENTS: whole + part.feed_forward_weights() * part.w,
            GpuTerm.WORKING_SET: 0,
            GpuTerm.ACTIVATIONS: amounts[GpuTerm.ACTIVATIONS] + part.attention_bytes(),
        },
    )


def _memory(
    amounts: dict[GpuTerm, int], layout: Layout, device: DeviceSpec | None, at: str
) -> GpuMemory:
    terms = dict(amounts)
    if device is not None:
        groups = sum(ranks > 1 for ranks in (layout.tp, layout.pp, layout.cp, layout.shards))
        terms[GpuTerm.CONTEXT] = CONTEXT_BYTES + groups * GROUP_BYTES
        terms[GpuTerm.CONTEXT] += 2 * device.library_workspace_bytes
    always = (GpuTerm.WEIGHTS, GpuTerm.MASTER, GpuTerm.MOMENTS, GpuTerm.CACHE, GpuTerm.CONTEXT)
    return GpuMemory(
        tuple(
            Term("persistent" if name in always else "transient", name, int(amount))
            for name, amount in terms.items()
            if amount
        ),
        at,
    )
