"""Peak candidates: the moments of a step at which its memory can peak, and what is alive at each.

Between two of them live bytes rise or fall along a straight line (layer by layer, segment
by segment), so one of them is the peak. What is there all the time (weights, optimizer state) is
not counted here. Those of an RMT are in ``recurrent_peak_candidates``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from rmtscale.costs.activations import (
    Rates,
    Saved,
    activation_rates,
    backbone_activations,
    layer_activations,
)
from rmtscale.costs.grouped_experts import experts_of
from rmtscale.costs.parameters import block_matrix_weights
from rmtscale.costs.working_set import (
    HeadWork,
    LayerWork,
    head_work,
    layer_work,
    mask_bytes,
)
from rmtscale.costs.written import how_written
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.workload import Workload

AT_THE_LOGITS = "at the logits"
"""Where the layers are over in a forward pass."""


class PeakCandidate(NamedTuple):
    """Bytes alive at one point of a step, besides what is always there."""

    name: str
    gradients: int = 0
    attention: int = 0
    """Saved activations of attention."""
    activations: int = 0
    """All other saved activations."""
    head: int = 0
    """Logits, loss and their gradients, targets."""
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
    output: int
    """Counts what the head reads: the last hidden states, as wide as the embedding."""
    read: int
    """Saved of the head's input."""
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
    copies: int = 0
    """Training: 16-bit copies of all layers' weights, which autocast keeps until it ends."""


def last_logits_bytes(model: ModelSpec, workload: Workload) -> int:
    """Logits of the last token of each sequence."""
    return workload.batch_size * model.vocabulary * workload.dtype_bytes


class Step:
    """One forward pass or one training step of full attention: a single segment.

    ``gradients`` are the bytes of the gradients of all that is trained.
    """

    def __init__(self, model: ModelSpec, workload: Workload, gradients: int) -> None:
        self.model, self.workload, self.gradients = model, workload, gradients
        # A tied head's gradient is there before the embedding adds its part.
        self.tied = model.tied_head and model.head == "language-model"
        # It comes as the transpose of a product, a view, to which autograd adds nothing in place;
        # under autocast as a cast of it.
        self.sums_views = not workload.casts.autocast
        self.embedding = model.vocabulary * model.embedding_width * workload.weight_bytes

    @property
    def copies(self) -> int:
        """Copies of all layers' weights that autocast keeps for several segments."""
        return 0

    @cached_property
    def rates(self) -> Rates:
        """Rates of what a layer keeps, by token and by pair of tokens."""
        return activation_rates(self.model, self.workload, self.workload.batch_size)

    @cached_property
    def _feed_forward_matrix(self) -> int:
        """Bytes of one of a feed-forward's matrices, in all of its experts."""
        experts = experts_of(self.model)
        matrix = self.model.width * self.model.mlp_width * self.workload.dtype_bytes
        return matrix * (experts.experts if experts is not None else 1)

    def segment(self, size: int, text: int) -> Segment:
        model, workload, rates = self.model, self.workload, self.rates
        batch, w = workload.batch_size, workload.dtype_bytes
        output = batch * size * model.embedding_width * w
        layer = layer_activations(model, rates, batch, size)
        return Segment(
            batch * size * model.width * w,
            mask_bytes(model, workload, size, used_only=True),
            output,
            output,
            batch * size * rates.embedding_token,
            batch * size * rates.final_token,
            layer,
            backbone_activations(model, workload, rates, batch, size, layer),
            head_work(model, workload.casts, batch, text),
            layer_work(model, workload, rates, size, self._held()),
        )

    def _held(self) -> int:
        """Tensors of model width that are held through all layers."""
        return how_written(self.model).held

    def forward(self) -> Iterator[PeakCandidate]:
        """Inference: one layer at a time, then the logits, of all tokens or the last."""
        segment = self.segment(self.workload.tokens, self.workload.tokens)
        yield PeakCandidate("inside a layer", work=segment.work.forward)
        head = segment.head.forward
        if self.model.decoder and self.workload.logits == "last":
            head = last_logits_bytes(self.model, self.workload)
        yield PeakCandidate(AT_THE_LOGITS, head=head, work=segment.hidden + segment.head.cast)

    def train(self) -> Iterator[PeakCandidate]:
        """Training: forward and backward of each micro-batch, the last one's being the largest."""
        segment = self.segment(self.workload.tokens, self.workload.tokens)
        held = segment.head.forward  # the caller holds the output
        new = self.workload.accumulate == 1
        there = 0 if new else self.gradients
        yield from self._at_the_loss(segment, PeakCandidate("", there, *segment.backbone, held))
        # A tied head's gradient waits for the embedding's; another's is added to what there is.
        stays = segment.head.weight if new or self.tied else 0
        now = PeakCandidate("", there, head=held)
        yield from self._in_the_backbone(segment, now, new, stays)

    def _at_the_loss(self, segment: Segment, now: PeakCandidate) -> Iterator[PeakCandidate]:
        """The backward pass of cross-entropy and head; ``now``: what there is besides them."""
        head = segment.head
        yield now._replace(
            name="where the loss is differentiated", head=now.head + head.loss + head.cast
        )
        yield now._replace(
            name="where the head is differentiated",
            head=now.head + head.projection + head.cast,
            work=head.weight + head.weight_cast,
        )

    def _in_the_backbone(
        self, segment: Segment, others: PeakCandidate, new: bool = True, head: int | None = None
    ) -> Iterator[PeakCandidate]:
        """The backward pass of one segment, without its head.

        Args:
            segment: the segment.
            others: what there is besides: other segments, gradients of other windows.
            new: its gradients stay; else they are added to those there are already.
            head: bytes of the head's gradient that stay or wait; its matrix by default.
        """
        _, gradients, *saved, held, state, _ = others
        waiting, layer = Saved(*saved), segment.layer
        # Segments add to a gradient in 16 bits until the last has: that sum and the copy of the
        # weight are as large as the gradient in fp32, into which both go.
        copies = self._copies_at_once() if new else 0
        last = segment.backbone.plus(waiting).plus(Saved(0, copies - segment.final))
        if self.workload.checkpoint_layers:  # the layer that is recomputed, and its mask
            layer = layer.plus(Saved(segment.mask, 0))
            last = last.plus(layer).plus(Saved(0, -segment.hidden))  # its input is there already
        head = segment.head.weight if head is None else head
        at_head = gradients + head
        now = PeakCandidate("", at_head, *last, held, state)
        yield from self._in_layer("last", now, segment.work, new)
        after = gradients
        if new:  # where gradients exist, the first layer is no larger than the last
            after += self.gradients
            own = self.copies // self.model.layers
            first = waiting.plus(layer).plus(Saved(0, segment.embedding + own))
            now = PeakCandidate("", after - self._late_gradients(), *first, held, state)
            yield from self._in_layer("first", now, segment.work, new)
        # Of a tied head both gradients are there, and where the first is a view their sum, too.
        waiting_head = (1 + self.sums_views) * head * self.tied
        work = 2 * segment.hidden + waiting_head + (0 if new else self.embedding)
        name = "where the embedding is differentiated"
        yield PeakCandidate(name, after, *waiting, held, state, work)

    def _in_layer(
        self, which: str, now: PeakCandidate, work: LayerWork, new: bool
    ) -> tuple[PeakCandidate, ...]:
        """The two candidates of one layer; its new gradients are counted with the others."""
        _, gradients, attention, activations, held, state, _ = now
        matrix = self._feed_forward_matrix
        block = (2 + self.model.gated_mlp) * matrix * new
        first = f"in the {which} layer's feed-forward, backward"
        second = f"in the {which} layer's attention, backward"
        return (
            PeakCandidate(
                first, gradients + matrix, attention, activations, held, state, work.feed_forward
            ),
            PeakCandidate(
                second, gradients + block, attention, activations, held, state, work.attention
            ),
        )

    def _copies_at_once(self) -> int:
        """Bytes of the shared copies where the last layer is; a recomputed one has made its own."""
        return self.copies // (self.model.layers if self.workload.checkpoint_layers else 1)

    def _late_gradients(self) -> int:
        """Bytes of the gradients that come with the first layer and the embedding."""
        model = self.model
        late = block_matrix_weights(model, every=True) // model.layers
        late += model.position_rows * model.width
        late *= self.workload.dtype_bytes
        return late if self.tied else late + self.embedding
