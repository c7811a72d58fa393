"""Memory of one GPU, as named terms: what the busiest rank of a layout holds at its peak.

Weights, gradients, fp32 copies and moments are cut as the layout says. Activations follow the
counts that ``activations`` has of the real modules; attention and feed-forward are divided by
``tp``, norms and residuals only with sequence parallelism (Korthikanti et al. 2022, section 4). The
first stage of a pipeline keeps the activations of as many micro-batches as there are stages.
FSDP2 gathers one layer ahead, holds one layer's whole gradient, and around an RMT whose segments
are one graph all of them, until the first segment has been differentiated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.activations import activation_rates, fused_attention
from rmtscale.costs.breakdown import Breakdown, Term
from rmtscale.costs.grouped_experts import experts_of
from rmtscale.costs.layouts.recompute import BY_OPERATOR, kept_widths
from rmtscale.costs.layouts.shards import held, layer_weights, memory_weight, outer_weights
from rmtscale.costs.layouts.stages import stage_layers
from rmtscale.costs.layouts.torch_ring import held_bytes
from rmtscale.costs.optimizers import MOMENTS, state_bytes, work_bytes
from rmtscale.costs.parameter_shapes import Tensors
from rmtscale.costs.working_set import FEED_FORWARD_BACKWARD, GATED, head_work
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


class RankWeights(NamedTuple):
    """Numbers of weights on the busiest rank."""

    whole: int
    """Without FSDP2, or all gathered."""
    stored: int
    stepped: int
    """Those that its optimizer steps on."""
    layer: int
    """One layer, gathered."""
    layer_shard: int
    outer: int
    """All outside the layers, gathered."""


@lru_cache(maxsize=65536)
def rank_weights(
    model: ModelSpec, layout: Layout, recurrence: Recurrence | None = None
) -> RankWeights:
    """Counts the weights of the busiest rank; the first stage has the embedding."""
    memory = 0 if recurrence is None else recurrence.memory_tokens
    front, behind = outer_weights(model)
    outer = (*front, *memory_weight(model, memory))
    if layout.pp == 1:
        outer = (*outer, *behind)
    layer, rest = held(layer_weights(model), layout), held(outer, layout)
    layers = stage_layers(model, layout)
    whole = layers * layer.whole + rest.whole
    stored = layers * layer.shard + rest.shard
    stepped = stored if layout.zero == 3 else whole
    if layout.zero in (1, 2):
        stepped = -(-whole // layout.shards)
    return RankWeights(whole, stored, stepped, layer.whole, layer.shard, rest.whole)


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
    part = _Part(model, workload, layout, recurrence)
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
    inside: Amounts, scored: Amounts, numbers: RankWeights, part: _Part
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
    inside: Amounts, scored: Amounts, numbers: RankWeights, part: _Part
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
    name: str, amounts: Amounts, whole: int, part: _Part
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


class _Part:
    """The part of a step that one rank sees."""

    def __init__(
        self, model: ModelSpec, workload: Workload, layout: Layout, recurrence: Recurrence | None
    ) -> None:
        self.model, self.workload, self.layout = model, workload, layout
        self.recurrence = recurrence
        self.segments, self.size, self.text = 1, workload.tokens, workload.tokens
        if recurrence is not None:
            text = recurrence.segment_tokens(model)
            self.segments = recurrence.segments(model, workload.tokens)
            self.text = min(text, workload.tokens)
            self.size = self.text + recurrence.overhead(model)
        self.local = -(-self.size // layout.cp)
        self.tokens = layout.micro_batch * self.local
        self.w = workload.dtype_bytes
        self.one_graph = recurrence is not None and not layout.state_by_state
        """Whether all segments of a sequence are differentiated as one graph."""
        self.rates = activation_rates(model, workload, layout.micro_batch)
        self.spread = layout.tp if layout.sequence_parallel else 1
        self.fused = fused_attention(model, workload)

    def feed_forward_weights(self) -> int:
        """Numbers in the matrices of one feed-forward on this rank."""
        model, experts = self.model, experts_of(self.model)
        copies = 1 if experts is None else experts.experts // self.layout.ep
        matrices = (2 + model.gated_mlp) * model.width * model.mlp_width
        return copies * matrices // self.layout.tp

    def matrix_weights(self) -> int:
        """Numbers in one of its matrices."""
        return self.feed_forward_weights() // (2 + self.model.gated_mlp)

    def head_weights(self) -> int:
        """Numbers in the head's matrix on this rank, which waits for the whole backward pass."""
        cut = self.layout.tp if self.layout.shard_vocabulary else 1
        return self.model.vocabulary * self.model.embedding_width // cut

    def layer_bytes(self) -> int:
        """Bytes that one layer keeps of one micro-batch, or one segment of it."""
        rates, model, tp = self.rates, self.model, self.layout.tp
        if self.layout.recompute == "full":
            return self.tokens * model.width * self.w // self.spread
        if self.layout.recompute in BY_OPERATOR:
            return self._listed_bytes()
        pair, forward = rates.attention_pair, rates.feed_forward_token
        norms = rates.norms_token
        if self.layout.recompute == "selective":
            pair = 0
            if self.fused:
                norms = 2 * model.width * self.w
                forward = (1 + model.gated_mlp) * model.mlp_width * self.w
        attention = self.tokens * (rates.attention_token + self.size * pair) // tp
        if rates.row_block:
            attention += self.tokens * model.heads // tp * FP32_BYTES
        return attention + self.tokens * (norms // self.spread + forward // tp)

    def _listed_bytes(self) -> int:
        """Bytes of one layer's input and of what a policy of ``BY_OPERATOR`` keeps."""
        model, tp, w = self.model, self.layout.tp, self.w
        cut, whole = kept_widths(model, self.layout.recompute)
        square = self.size * self.rates.attention_pair
        if self.rates.row_block:
            square += model.heads * FP32_BYTES
        wide = model.width * (1 + 2 * self.layout.sequence_parallel)  # and what was scattered
        each = ((cut + model.query_width) * w + square) // tp + wide * w // self.spread + whole * w
        return self.tokens * each

    def final_bytes(self) -> int:
        """Bytes that the norm behind the layers keeps, which is differentiated first."""
        return self.tokens * self.rates.final_token // self.spread

    def kept_bytes(self, *, last: bool = False) -> int:
        """Bytes of all that waits for its backward pass, on the first stage or the last one."""
        layout, model = self.layout, self.model
        each = self.layer_bytes()
        outside = self.rates.embedding_token + self.rates.final_token
        layers = stage_layers(model, layout)
        kept = layers * each + self.tokens * outside // self.spread
        if self.one_graph:
            kept = self.segments * kept
        rows = layout.micro_batches(self.workload.batch_size)
        stages = 1 if last else layout.pp
        if stages > 1 and layout.virtual_stages > 1:  # Korthikanti et al. 2022, section 4.2.3
            flying = min(rows, stages) * (1 + (stages - 1) / (stages * layout.virtual_stages))
            return int(kept * flying)
        return kept * min(rows, stages)

    def working_bytes(self) -> int:
        """Bytes of one layer's backward pass, and of the layer that is recomputed."""
        model, tp = self.model, self.layout.tp
        down = GATED["backward"] if model.gated_mlp else FEED_FORWARD_BACKWARD[model.activation]
        wide = model.width // self.spread
        work = self.tokens * self.w * (wide + down * model.mlp_width // tp)
        if not self.fused:
            square = self.tokens * self.size * self.rates.pair_work // tp
            work = max(work, square + self.tokens * self.w * 2 * model.width)
        return int(work) + self._recomputed_bytes()

    def attention_bytes(self) -> int:
        """Bytes of the attention's backward pass, less what the feed-forward has freed by then."""
        model, rates, tp = self.model, self.rates, self.layout.tp
        norm = rates.norms_token // 2 * (1 + model.post_norm) // self.spread
        freed = norm + (rates.feed_forward_token + model.query_width * self.w) // tp
        heads = 2 * (model.query_width + model.kv_width) if self.fused else model.kv_width
        gradients = (model.width // self.spread + heads // tp) * self.w
        square = self.tokens * self.size * rates.pair_work // tp
        return int(self.tokens * (gradients - freed) + square) + self._recomputed_bytes()

    def _recomputed_bytes(self) -> int:
        """Bytes of the layer that is made again; its input, or more of it, is there already."""
        if self.layout.recompute == "none":
            return 0
        plain = _Part(self.model, self.workload, _plainly(self.layout), self.recurrence)
        return plain.layer_bytes() - self.layer_bytes()

    def forward_bytes(self) -> int:
        """Bytes of one layer's forward pass, nothing kept."""
        model, tp = self.model, self.layout.tp
        up = 3 if model.gated_mlp else 2
        wide = 4 * model.width // self.spread
        heads = (2 * model.query_width + 2 * model.kv_width) // tp
        work = self.tokens * self.w * (wide + max(up * model.mlp_width // tp, heads))
        if not self.fused:
            work += 2 * self.tokens * self.size * model.heads * self.w // tp
        logits = self.layout.micro_batch * model.vocabulary * self.w
        return max(work, logits)

    def head_bytes(self) -> int:
        """Bytes of logits and loss where they are differentiated, on the last stage."""
        layout, model, workload = self.layout, self.model, self.workload
        tp = layout.tp if layout.shard_vocabulary else 1
        text = -(-self.text // layout.cp)
        each = head_work(model, workload.casts, layout.micro_batch, text)
        if self.recurrence is not None and model.decoder:
            # Scored at once: logits, the same in fp32, and the head's gradient as an fp32 sum.
            logits = layout.micro_batch * text * model.vocabulary
            summed = model.vocabulary * model.embedding_width * FP32_BYTES
            return (logits * (FP32_BYTES + self.w * (self.w < FP32_BYTES)) + summed) // tp
        return each.loss // tp

    def held_bytes(self) -> int:
        """Bytes of the logits that full attention's caller holds; an RMT hands out none."""
        layout, model = self.layout, self.model
        if self.recurrence is not None or model.head == "classification":
            return 0
        tp = layout.tp if layout.shard_vocabulary else 1
        text = -(-self.text // layout.cp)
        return head_work(model, self.workload.casts, layout.micro_batch, text).forward // tp

    def state_bytes(self) -> int:
        """Bytes of the states that are kept: of all segments, state by state."""
        if self.recurrence is None:
            return 0
        each = self.layout.micro_batch * self.recurrence.memory_tokens * self.model.embedding_width
        kept = self.segments + 1 if self.layout.state_by_state else 2
        return each * self.w * kept

    def cache_bytes(self) -> int:
        """Keys and values of a prefill, cut by heads, stages and positions."""
        from rmtscale.costs.kept import prefill_cache_bytes

        if not self.workload.cache:
            return 0
        layout = self.layout
        every = prefill_cache_bytes(self.model, self.workload, self.recurrence)
        cut = layout.tp * layout.pp * layout.cp * layout.dp
        return -(-every // cut)

    def buffer_bytes(self) -> int:
        """Bytes that are being sent or received in one layer."""
        layout, model = self.layout, self.model
        sent = 0
        if layout.sequence_parallel:
            sent = self.tokens * model.width * self.w
        if layout.cp > 1:
            kv = 2 * self.tokens * model.kv_width // layout.tp * self.w
            heads = self.tokens * (model.query_width + 2 * model.kv_width) // layout.tp * self.w
            sent += {
                "ring": 2 * kv,
                "gather": layout.cp * kv,
                "alltoall": heads,
                "torch": held_bytes(model, self.workload, layout),
            }[layout.context]
        return sent


def _plainly(layout: Layout) -> Layout:
    """The layout that keeps all activations."""
    from dataclasses import replace

    return replace(layout, recompute="none")
