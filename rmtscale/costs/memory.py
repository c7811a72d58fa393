"""Peak memory of one pass or one training step, as named terms that sum to the peak.

The peak is what ``torch.cuda.max_memory_allocated`` shows: the largest sum of live tensors over
the moments of a step. Which moment that is depends on the lengths (short inputs peak in the
optimizer, long ones where the loss is differentiated), so each moment's sum is formed and the
largest is the answer. It is the steady state: from the second step on, when the optimizer has its
state. Gradients are freed between steps (``set_to_none``).

What a measured step must honour for the comparison to be fair:

* ``full`` runs Hugging Face's own loss (``labels=input_ids``), without a cache, and holds the
  module's output, logits included, until the backward pass is over.
* ``rmt`` sums the loss segment by segment: cross-entropy on fp32 logits of the text positions,
  so that of a segment's head only the log-softmax (4 V bytes a token) waits for the backward
  pass; it keeps no logits and no hidden states, and its state is a tensor of its own.
* ``bptt_segments=k`` runs the backward pass after every k segments: at most k are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.activations import (
    ID_BYTES,
    Saved,
    activation_rates,
    backbone_activations,
    layer_activations,
)
from rmtscale.costs.breakdown import Breakdown, Term
from rmtscale.costs.parameters import count_parameters, memory_parameters
from rmtscale.costs.working_set import head_work, layer_work
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

OPTIMIZER_STATE = {"adamw": 2, "adamw-fused": 2, "sgd": 0, "none": 0}
"""Copies of the weights an optimizer keeps between steps (``sgd`` without momentum)."""
OPTIMIZER_WORK = {"adamw": 1, "adamw-fused": 0, "sgd": 0, "none": 0}
"""Further copies while it steps: AdamW's foreach form holds the denominators of all weights."""


@dataclass(frozen=True, slots=True)
class PeakMemory(Breakdown):
    """Bytes at the largest moment of a step; the terms are what is alive then."""

    moment: str
    """When it is: ``in the optimizer step``, ``at the loss``, ..."""


class Moment(NamedTuple):
    """Live bytes at one point of a step, besides what is always there."""

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

    @property
    def total(self) -> int:
        return sum(self[1:])


TERMS = (
    "gradients",
    "saved attention",
    "saved activations",
    "logits and loss",
    "recurrent state",
    "working set",
)


def estimate_memory(
    model: ModelSpec, workload: Workload, recurrence: Recurrence | None = None
) -> PeakMemory:
    """Peak allocated bytes of ``workload``: full attention in one pass, or RMT with ``recurrence``.

    Terms of phase ``persistent`` (weights, buffers, optimizer state, token ids) are there before,
    at and after the peak; those of phase ``transient`` are what is alive at the peak only.

    Raises:
        BadInput: a segment that has no room for text or is longer than the position table, or an
            activation function of which it is not known what it keeps.
    """
    w = workload.dtype_bytes
    weights = count_parameters(model).total
    if recurrence is not None:
        weights += memory_parameters(model, recurrence)
    weights *= w
    optimizer = OPTIMIZER_STATE[workload.optimizer] * weights if workload.train else 0
    step = _Step(model, workload, recurrence, weights)
    moments = step.train() if workload.train else step.forward()
    peak = max(moments, key=_total)
    persistent = {
        "weights": weights,
        "buffers": buffer_bytes(model),
        "optimizer state": optimizer,
        "token ids": workload.batch_size * workload.tokens * ID_BYTES,
    }
    terms = [Term("persistent", name, amount) for name, amount in persistent.items()]
    terms += [Term("transient", *pair) for pair in zip(TERMS, peak[1:], strict=True)]
    return PeakMemory(tuple(terms), peak.name)


def _total(moment: Moment) -> int:
    return moment.total


@lru_cache(maxsize=1024)
def buffer_bytes(model: ModelSpec) -> int:
    """Tables a module holds besides its parameters: GPT-Neo's masks, BERT's position ids."""
    rows = model.position_rows
    if model.kind == "gpt_neo":  # a square of booleans in every layer
        return model.layers * rows * rows
    return 2 * rows * ID_BYTES if model.kind == "bert" else 0


class _Step:
    """The moments of one step; a segment is described by what the backbone sees and its text."""

    def __init__(
        self, model: ModelSpec, workload: Workload, recurrence: Recurrence | None, weights: int
    ) -> None:
        self.model, self.workload, self.weights = model, workload, weights
        self.w, self.batch = workload.dtype_bytes, workload.batch_size
        self.recurrent = recurrence is not None
        if recurrence is None:
            self.sizes: tuple[tuple[int, int], ...] = ((workload.tokens, 1),)
            self.overhead = self.state = 0
        else:
            self.sizes = recurrence.segment_sizes(model, workload.tokens)
            self.overhead = recurrence.overhead(model)
            self.state = self.batch * memory_parameters(model, recurrence) * self.w
        self.rates = activation_rates(model, workload, self.batch)

    def forward(self) -> Iterator[Moment]:
        """Inference: one layer at a time, then the logits of one segment."""
        size = self.sizes[0][0]
        hidden = self.batch * size * self.model.width * self.w
        work = layer_work(self.model, self.rates, self.w, self.batch, size)
        yield Moment("inside a layer", work=work.forward, state=self.state)
        head = head_work(self.model, self.w, self.batch, size - self.overhead)
        yield Moment("at the logits", head=head.forward, work=hidden, state=2 * self.state)

    def train(self) -> Iterator[Moment]:
        """One training step: backward of the last segments, then the optimizer."""
        segments = sum(count for _, count in self.sizes)
        window = min(self.workload.bptt_segments or segments, segments)
        last = self.sizes[-1][0]
        full = self.sizes[0][0]
        # The first window, and where there are more the second, which finds gradients.
        if window == segments:
            yield from self._backward(last, self._others(window - 1, full), window, 0)
            if window > 1:
                others = self._others(window - 2, full)
                yield from self._backward(full, others, window, self.weights)
        else:
            others = self._others(window - 1, full)
            yield from self._backward(full, others, window, 0)
            if segments >= 2 * window and (window > 1 or last == full or segments > 2):
                yield from self._backward(full, others, window, self.weights)
            elif window > 1:
                others = self._others(window - 2, full)
                yield from self._backward(full, others, window, self.weights)
        yield Moment(
            "in the optimizer step",
            gradients=self.weights,
            work=OPTIMIZER_WORK[self.workload.optimizer] * self.weights,
        )

    def _others(self, count: int, size: int) -> Saved:
        """What ``count`` segments of ``size`` keep that still wait for their backward pass."""
        if self.workload.checkpoint_segments and self.recurrent:
            return Saved(0, 0)
        head = head_work(self.model, self.w, self.batch, size - self.overhead).saved
        backbone = backbone_activations(self.model, self.workload, self.batch, size)
        return backbone.plus(Saved(0, head)).times(count)

    def _backward(self, size: int, others: Saved, kept: int, gradients: int) -> Iterator[Moment]:
        """The moments of one segment's backward pass while ``others`` wait for theirs.

        ``gradients``: 0 where none exists yet, all weights' bytes where each has one.
        """
        model, w, batch = self.model, self.w, self.batch
        text = size - self.overhead
        head = head_work(model, w, batch, text)
        work = layer_work(model, self.rates, w, batch, size)
        saved = backbone_activations(model, self.workload, batch, size).plus(others)
        layer = layer_activations(model, self.rates, batch, size)
        held = 0 if self.recurrent else head.forward  # the caller holds the output
        state = kept * self.state
        here = Moment(
            "where the loss is differentiated", gradients, *saved, head.loss + held, state
        )
        yield here
        hidden = batch * size * model.width * w
        if gradients:  # the new part of a gradient, before it is added to what is there
            extra = head.weight
        else:
            gradients, extra = head.weight, 0
        yield here._replace(
            name="where the head is differentiated",
            gradients=gradients,
            head=head.projection + held,
            work=extra,
        )
        if self.workload.checkpoint_layers:  # the layer that is recomputed
            saved = saved.plus(layer)
        matrix = model.width * model.mlp_width * w
        final = batch * size * self.rates.final_token
        gradients = max(gradients, head.weight)
        yield here._replace(
            name="in the last layer's backward pass",
            gradients=gradients,
            attention=saved.attention,
            activations=saved.other - final,
            head=held,
            work=work.feed_forward + matrix,
        )
        yield here._replace(
            name="in the last layer's attention",
            gradients=min(gradients + (2 + model.gated_mlp) * matrix, self.weights),
            attention=saved.attention,
            activations=saved.other - final,
            head=held,
            work=work.attention,
        )
        yield Moment(
            "at the end of the backward pass",
            self.weights,
            others.attention,
            others.other,
            held,
            state,
            model.vocabulary * model.embedding_width * w + 2 * hidden,
        )
