"""Peak candidates of an RMT: the moments at which its memory can peak, and what is alive at each.

The steps are those of ``rmtscale.rmt``. A decoder that is trained scores each segment as soon as
it is there: the gradient by its hidden states waits for the backward pass and not its logits, and
the head's own gradient is summed over the segments in fp32. With one checkpoint per segment that
gradient is all that a segment keeps, besides the state it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any

from rmtscale.costs.activations import FP32_BYTES, ID_BYTES, Saved
from rmtscale.costs.parameters import memory_parameters
from rmtscale.costs.peak_candidates import (
    AT_THE_LOGITS,
    PeakCandidate,
    Segment,
    Step,
    last_logits_bytes,
)
from rmtscale.costs.working_set import fused_head_work
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload


class RecurrentStep(Step):
    """One forward pass or one training step of an RMT; the first segment is the shorter one."""

    def __init__(
        self, model: ModelSpec, workload: Workload, gradients: int, recurrence: Recurrence
    ) -> None:
        super().__init__(model, workload, gradients)
        self.recurrence, overhead = recurrence, recurrence.overhead(model)
        self.state = (
            workload.batch_size * workload.weight_bytes * memory_parameters(model, recurrence)
        )
        self.sizes = recurrence.segment_sizes(model, workload.tokens)
        self.segments = sum(count for _, count in self.sizes)
        self.text = self.sizes[0][0] - overhead
        depth = workload.bptt_segments or self.segments
        if not (model.decoder or recurrence.memory_tokens):
            depth = 1  # nothing leads from an earlier segment to the answer
        self.window = min(depth, self.segments)
        self.checkpointed = workload.checkpoint_segments
        self.sums_views = False  # ``rmtscale.rmt.loss`` hands out a tensor of its own
        # Of an encoder, only the last window has a graph and a loss.
        # A later micro-batch finds gradients too.
        self.later = (model.decoder and self.window < self.segments) or workload.accumulate > 1

    @cached_property
    def full(self) -> Segment:
        """The longest segment."""
        return self._of_size(self.sizes[0][0])

    @cached_property
    def short(self) -> Segment:
        """The first segment."""
        return self._of_size(self.sizes[-1][0])

    def _of_size(self, size: int) -> Segment:
        kind: Any = type(self)  # mypy takes no class for hashable
        return _segment(kind, self.model, self.workload.any_length(), self.recurrence, size)

    @property
    def copies(self) -> int:
        """Copies that autocast keeps are one set for all segments of a window."""
        return self.full.copies

    def _held(self) -> int:
        # Of the families that are taken apart (``rmtscale.rmt.families``) nothing is held.
        taken_apart = self.model.decoder and not isinstance(self.model, LayeredSpec)
        return 0 if taken_apart else super()._held()

    def forward(self) -> Iterator[PeakCandidate]:
        """Inference: one layer of one segment at a time, then the logits of the last token."""
        model, segment = self.model, self.full
        held = 0 if model.decoder else segment.output  # the segment's input
        yield PeakCandidate("inside a layer", state=self.state, work=segment.work.forward + held)
        head = segment.head.forward
        if model.decoder:
            head = last_logits_bytes(model, self.workload)
        work = segment.output + segment.head.cast
        yield PeakCandidate(AT_THE_LOGITS, head=head, state=2 * self.state, work=work)

    def train(self) -> Iterator[PeakCandidate]:
        """Training: windows of segments forward and backward, then the optimizer.

        A later window has the most segments and finds gradients of all weights; where there is
        one, the first needs less. Autograd hands a gradient over only when every segment of the
        window has added to it: until then a second copy waits beside those of earlier windows.
        """
        count, segment = self.window, self.full
        shorter = count == self.segments and count > 1  # the window begins with the first segment
        second = self.short if shorter and count == 2 else self.full
        kept = self._kept(segment)
        waiting = kept.times(count - 1)
        if shorter:
            waiting = kept.times(count - 2).plus(self._kept(self.short))
        targets = 0
        if self.model.decoder:
            targets = self.workload.batch_size * self.workload.tokens * ID_BYTES
        # A checkpoint holds the state that its segment was given.
        states = (count + 1 if self.checkpointed else 2) * self.state
        gradients = self.later * self.gradients
        now = PeakCandidate("", gradients, *waiting, targets, states)
        yield from self._last_segment(segment, now, count > 1)
        if count > 1:
            # From here on all weights have a gradient; what waits includes this segment. Of a head
            # with weights of its own a later window has added its gradient by now.
            gone = kept if second is segment else waiting
            fewer = Saved(waiting.attention - gone.attention, waiting.other - gone.other)
            added = segment.head.weight * (self.later and not self.tied)
            now = PeakCandidate("", gradients + self.gradients - added, *fewer, targets, states, 0)
            yield from self._in_the_backbone(second, now, new=False, head=0)

    def _last_segment(
        self, segment: Segment, now: PeakCandidate, several: bool
    ) -> Iterator[PeakCandidate]:
        """The last segment of a window, which is differentiated first; ``several``: of many."""
        new = several or not self.later
        if not self.model.decoder:
            saved = segment.backbone.plus(Saved(now.attention, now.activations))
            saved = saved.plus(Saved(0, self._copies_at_once()))
            at_loss = now._replace(attention=saved.attention, activations=saved.other)
            yield from self._at_the_loss(segment, at_loss)
            yield from self._in_the_backbone(segment, now, new, segment.head.weight)
            return
        scoring = Saved(now.attention, now.activations + self.copies)
        casts, batch, head = self.workload.casts, self.workload.batch_size, segment.head
        trained = head.weight > 0
        work = fused_head_work(self.model, casts, batch, self.text, trained=trained)
        widened = casts.weight_bytes < FP32_BYTES
        # The last hidden states, of which torch copies the text where a batch is sliced.
        output = segment.output + (batch > 1) * head.text
        own = Saved(0, 0)  # of a checkpointed segment there is nothing yet
        if not self.checkpointed:
            own = segment.backbone.plus(Saved(0, -segment.read))
        scored = own.plus(scoring)
        name = "where the last segment is scored"
        before = now.gradients + several * work.summed
        output += head.cast
        yield PeakCandidate(name, before, *scored, now.head + work.logits, now.state, output)
        before = now.gradients + max(several, widened) * work.summed
        at = now.head + work.error
        product = max(head.weight_cast or head.weight, work.cast)
        yield PeakCandidate(name, before, *scored, at, now.state, output + product)
        name = "where the head's gradient is handed out"
        scored = scored.plus(Saved(0, head.text))
        yield PeakCandidate(
            name, now.gradients + work.summed, *scored, now.head, now.state, work.handed_out
        )
        # Of a tied head it waits for the embedding's; else a later window has added it already.
        stays = head.weight if self.tied or not self.later else 0
        backbone = segment.backbone.plus(Saved(0, -segment.read))
        segment = segment._replace(final=segment.final - segment.read, backbone=backbone)
        yield from self._in_the_backbone(segment, now, new, stays)

    def _kept(self, segment: Segment) -> Saved:
        """Counts the bytes that a segment keeps until its backward pass."""
        if self.checkpointed:
            return Saved(0, segment.head.text)  # nothing of an encoder, whose head is its last's
        kept = segment.backbone
        if self.workload.checkpoint_layers:
            kept = kept.plus(Saved(0, segment.mask))
        if self.model.decoder:  # the head keeps a gradient of its text, and not what it has read
            kept = kept.plus(Saved(0, segment.head.text - segment.read))
        return kept


@lru_cache(maxsize=512)
def _segment(
    kind: type[RecurrentStep], model: ModelSpec, work: Workload, recurrence: Recurrence, size: int
) -> Segment:
    """Returns a segment, which is the same however many there are."""
    return kind(model, work, 0, recurrence).segment(size, size - recurrence.overhead(model))
