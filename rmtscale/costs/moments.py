"""The moments of a pass or a step at which its memory can peak, and what is alive at each.

Between two of these moments live bytes rise or fall along a straight line (layer by layer, segment
by segment), so one of them is the peak. What is there all the time (weights, optimizer state) is
not counted here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rmtscale.costs.activations import (
    Saved,
    activation_rates,
    backbone_activations,
    layer_activations,
)
from rmtscale.costs.parameters import block_matrix_weights, memory_parameters
from rmtscale.costs.working_set import HeadWork, LayerWork, head_work, layer_work, mask_bytes
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

OPTIMIZER_STATE = {"adamw": 2, "adamw-fused": 2, "sgd": 0, "none": 0}
"""Copies of the weights an optimizer keeps between steps (``sgd`` without momentum)."""
OPTIMIZER_WORK = {"adamw": 1, "adamw-fused": 0, "sgd": 0, "none": 0}
"""Further copies while it steps: AdamW's foreach form holds the denominators of all weights."""


class Moment(NamedTuple):
    """Bytes alive at one point of a step, besides what is always there."""

    name: str
    gradients: int = 0
    attention: int = 0
    """Saved activations of attention."""
    activations: int = 0
    """All other saved activations."""
    head: int = 0
    """Logits, loss and their gradients."""
    state: int = 0
    """Recurrent states of an RMT that are kept."""
    work: int = 0

    def total(self) -> int:
        _, gradients, attention, activations, head, state, work = self
        return gradients + attention + activations + head + state + work


class Segment(NamedTuple):
    """One run of the backbone, in bytes; full attention is a single segment."""

    hidden: int
    """One tensor of model width."""
    mask: int
    """The additive mask of eager attention, which a checkpointed layer holds as an input."""
    embedding: int
    """Saved before the layers."""
    final: int
    """Saved after the layers, freed before the last of them is differentiated."""
    layer: Saved
    """One layer's saved activations."""
    backbone: Saved
    """All saved activations (layer inputs only, if layers are checkpointed)."""
    head: HeadWork
    work: LayerWork


class Step:
    """One forward pass or one training step of ``full`` (no recurrence) or ``rmt``.

    ``weights`` are the bytes of all weights, which gradients and optimizer take again.
    """

    def __init__(
        self, model: ModelSpec, workload: Workload, recurrence: Recurrence | None, weights: int
    ) -> None:
        self.model, self.workload, self.weights = model, workload, weights
        self.recurrent = recurrence is not None
        # A tied head's gradient is there before the embedding adds its part.
        self.tied = model.tied_head and model.head == "language-model"
        self.rates = activation_rates(model, workload, workload.batch_size)
        if recurrence is None:
            self.state, self.segments = 0, 1
            self.full = self.last = self._segment(workload.tokens, workload.tokens)
            return
        self.state = workload.batch_size * workload.dtype_bytes
        self.state *= memory_parameters(model, recurrence)
        overhead = recurrence.overhead(model)
        sizes = recurrence.segment_sizes(model, workload.tokens)
        self.segments = sum(count for _, count in sizes)
        self.full = self._segment(sizes[0][0], sizes[0][0] - overhead)
        self.last = self.full  # the shorter segment, if there is one, comes last
        if len(sizes) > 1:
            self.last = self._segment(sizes[1][0], sizes[1][0] - overhead)

    def _segment(self, size: int, text: int) -> Segment:
        model, workload, rates = self.model, self.workload, self.rates
        batch, w = workload.batch_size, workload.dtype_bytes
        return Segment(
            batch * size * model.width * w,
            mask_bytes(model, workload, size),
            batch * size * rates.embedding_token,
            batch * size * rates.final_token,
            layer_activations(model, rates, batch, size),
            backbone_activations(model, workload, rates, batch, size),
            head_work(model, w, batch, text),
            layer_work(model, workload, rates, size),
        )

    def forward(self) -> Iterator[Moment]:
        """Inference: one layer at a time, then the logits of one segment."""
        segment = self.full
        # An RMT's caller holds the embedded text, and its concatenation with the memory.
        inputs = 2 * segment.hidden * self.model.embedding_width // self.model.width
        yield Moment(
            "inside a layer",
            state=self.state,
            work=segment.work.forward + inputs * self.recurrent,
        )
        yield Moment(
            "at the logits",
            head=segment.head.forward,
            state=2 * self.state,
            work=segment.hidden,
        )

    def train(self) -> Iterator[Moment]:
        """Training: windows of segments forward and backward, then the optimizer.

        The first window has the most segments but finds no gradients; the second finds them.
        Within a window the last segment is differentiated first; from the one before it on,
        every weight has a gradient while earlier segments still wait.
        """
        window = min(self.workload.bptt_segments or self.segments, self.segments)
        for start in (0, window):
            count = min(window, self.segments - start)
            if count < 1:
                break
            first = self.last if start + count == self.segments else self.full
            yield from self._backward(first, count - 1, count, bool(start))
            if count > 1:
                yield from self._backward(self.full, count - 2, count, True)
        yield Moment(
            "in the optimizer step",
            gradients=self.weights,
            work=OPTIMIZER_WORK[self.workload.optimizer] * self.weights,
        )

    def _waiting(self, count: int) -> Saved:
        """What ``count`` full segments keep that still wait for their backward pass."""
        if self.workload.checkpoint_segments and self.recurrent:
            return Saved(0, 0)
        return self.full.backbone.plus(Saved(0, self.full.head.saved)).times(count)

    def _backward(
        self, segment: Segment, waiting: int, states: int, graded: bool
    ) -> Iterator[Moment]:
        """One segment's backward pass while ``waiting`` others wait for theirs.

        ``graded``: every weight has a gradient already, to which this segment's is added.
        """
        others, head = self._waiting(waiting), segment.head
        saved = segment.backbone.plus(others)
        held = 0 if self.recurrent else head.forward  # the caller holds the output
        state = states * self.state
        before = graded * self.weights
        yield Moment("where the loss is differentiated", before, *saved, head.loss + held, state)
        gradients = self.weights if graded else head.weight
        at_head, new_part = head.projection + held, graded * head.weight
        yield Moment(
            "where the head is differentiated", gradients, *saved, at_head, state, new_part
        )
        layer, last = segment.layer, saved.plus(Saved(0, -segment.final))
        if self.workload.checkpoint_layers:  # the layer that is recomputed, and its mask
            layer = layer.plus(Saved(segment.mask, 0))
            last = last.plus(layer)
        yield from self._in_layer("last", Moment("", gradients, *last, held, state), segment.work)
        if not graded:  # where gradients exist, the first layer is no larger than the last
            gradients = self.weights - self._late_gradients()
            first = others.plus(layer).plus(Saved(0, segment.embedding))
            yield from self._in_layer(
                "first", Moment("", gradients, *first, held, state), segment.work
            )
        work = 2 * segment.hidden
        if graded or self.tied:
            work += self._embedding_bytes()
        yield Moment(
            "where the embedding is differentiated", self.weights, *others, held, state, work
        )

    def _in_layer(self, which: str, now: Moment, work: LayerWork) -> tuple[Moment, Moment]:
        """The two moments of one layer; its new gradients are counted with the others."""
        _, gradients, attention, activations, held, state, _ = now
        matrix = self.model.width * self.model.mlp_width * self.workload.dtype_bytes
        block = (2 + self.model.gated_mlp) * matrix
        first = f"in the {which} layer's feed-forward, backward"
        second = f"in the {which} layer's attention, backward"
        return (
            Moment(
                first, gradients + matrix, attention, activations, held, state, work.feed_forward
            ),
            Moment(second, gradients + block, attention, activations, held, state, work.attention),
        )

    def _embedding_bytes(self) -> int:
        return self.model.vocabulary * self.model.embedding_width * self.workload.dtype_bytes

    def _late_gradients(self) -> int:
        """Bytes of the gradients that come with the first layer and the embedding."""
        model = self.model
        late = block_matrix_weights(model) // model.layers + model.position_rows * model.width
        late *= self.workload.dtype_bytes
        return late if self.tied else late + self._embedding_bytes()
