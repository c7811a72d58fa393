"""Lean segment steps of GPT-2: what they leave out and what they hold (``rmtscale.rmt.lean_gpt2``).

Where an RMT of plain GPT-2 reads in captured segments, these run with fewer kernels than the
backbone's own modules launch, and of the last block only what is read is worked out: keys and
values of all positions, all else for the kept text token and the write memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from rmtscale.costs.captured_steps import runs_captured
from rmtscale.costs.design import Design
from rmtscale.costs.peak_candidates import PeakCandidate
from rmtscale.costs.recurrent_peak_candidates import RecurrentStep
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import FP32_BYTES
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

LEAN_ACTIVATIONS = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
"""All of them are GELU by ``tanh``."""


def runs_lean(model: ModelSpec, workload: Workload, design: Design) -> bool:
    """Whether captured segments are lean: those of plain GPT-2 in bf16 or fp32 are."""
    casts = workload.casts
    return (
        runs_captured(model, workload, design)
        and model.kind == "gpt2"
        and model.head == "language-model"
        and not isinstance(model, LayeredSpec)
        and model.activation in LEAN_ACTIVATIONS
        and model.quantization is None
        and workload.attention == "sdpa"
        and not casts.autocast
        and casts.arithmetic != "fp16"
    )


def read_positions(recurrence: Recurrence) -> int:
    """Positions of a segment's last hidden states that are read: one of the text, and memory."""
    return 1 + recurrence.memory_tokens


def gelu_inside(workload: Workload) -> bool:
    """Whether GELU is a part of the matmul before it."""
    return workload.weight_bytes < FP32_BYTES


def skipped_flops(model: ModelSpec, recurrence: Recurrence, size: int) -> int:
    """FLOPs of a segment of one sequence that are counted (``matmul``) and not worked out.

    Of the last block the query, its attention, its output and the feed-forward block run for the
    read positions only.
    """
    rows = size - read_positions(recurrence)
    width, inner = model.width, model.mlp_width
    return 2 * rows * (2 * width * width + 2 * size * width + 2 * width * inner)


class LeanStep(RecurrentStep):
    """A forward pass whose segments are lean: what the names of its functions hold."""

    def forward(self) -> Iterator[PeakCandidate]:
        """Inference: one layer of one segment at a time, then the logits of the last token."""
        inside, *others = super().forward()
        yield inside._replace(work=self._largest_in_a_layer())
        yield from others

    def _largest_in_a_layer(self) -> int:
        """Bytes of the tensors alive at the largest moment of a segment.

        The residual stream is there throughout, and so are query, key and value of a block until
        the next one's.
        """
        model, workload = self.model, self.workload
        w, batch, size = workload.weight_bytes, workload.batch_size, self.sizes[0][0]
        width, inner = model.width, model.mlp_width
        token = w * width
        several = model.layers > 1
        held = token * (1 + 3 * several)
        made = w * inner * (1 if gelu_inside(workload) else 2)
        in_projection = held + 4 * token  # a norm's output, and what is made of it
        in_feed_forward = held + token + made
        # In fp32 both are views. A batch of keys is copied in the order of a batch of matrices,
        # and of the stream only the last positions are there.
        wide = FP32_BYTES * width
        keys = wide * ((w < FP32_BYTES) + (batch > 1))
        scores = FP32_BYTES * model.heads * read_positions(self.recurrence)
        squares = max(keys + scores, 2 * scores)  # one operator's input and its output
        in_last_attention = held - token * (batch > 1) + 3 * token + squares
        most = max(several * max(in_projection, in_feed_forward), in_last_attention)
        return batch * size * most
