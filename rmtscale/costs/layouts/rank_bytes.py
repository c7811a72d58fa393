"""Bytes of the part of a step that one rank sees: what its layers keep and work with, and the head.

Activations follow the counts that ``activations`` has of the real modules; attention and
feed-forward are divided by ``tp``, norms and residuals only with sequence parallelism (Korthikanti
et al. 2022, section 4). The first stage of a pipeline keeps the activations of as many
micro-batches as there are stages.
"""

from __future__ import annotations

from dataclasses import replace

from rmtscale.costs.activations import activation_rates, fused_attention
from rmtscale.costs.grouped_experts import experts_of
from rmtscale.costs.layouts.recompute import BY_OPERATOR, kept_widths
from rmtscale.costs.layouts.stages import stage_layers
from rmtscale.costs.layouts.torch_ring import held_bytes, in_torch
from rmtscale.costs.working_set import FEED_FORWARD_BACKWARD, GATED, head_work
from rmtscale.specs.layout import Layout
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import FP32_BYTES
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload


class RankBytes:
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
        self.spread = layout.tp if layout.sequence_parallel else 1
        attended = model
        if in_torch(layout):  # grouped heads are written out for it
            attended = replace(model, kv_heads=model.heads)
        self.rates = activation_rates(attended, workload, layout.micro_batch)
        self.fused = fused_attention(attended, workload)

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
        return self._layer_bytes(self.layout.recompute)

    def _layer_bytes(self, recompute: str) -> int:
        """Bytes that one layer keeps where so much of it is made again."""
        rates, model, tp = self.rates, self.model, self.layout.tp
        if recompute == "full":
            return self.tokens * model.width * self.w // self.spread
        if recompute in BY_OPERATOR:
            return self._listed_bytes()
        pair, forward = rates.attention_pair, rates.feed_forward_token
        norms = rates.norms_token
        if recompute == "selective":
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
        return self._layer_bytes("none") - self.layer_bytes()

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
            if in_torch(layout):
                return sent + held_bytes(model, self.workload, layout)
            sent += {"ring": 2 * kv, "gather": layout.cp * kv, "alltoall": heads}[layout.context]
        return sent
