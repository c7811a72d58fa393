"""Torch's own context parallelism, ``torch.distributed.tensor.experimental.context_parallel``.

What it sends and what it moves, read out of its source
(``torch/distributed/tensor/experimental/_attention.py`` of 2024-12, the same in 2.11 and 2.13):
keys and values of all ranks are gathered once a pass, or with ``set_rotate_method("alltoall")``
(``torchring``) travel round a ring, and are attended to in as many steps as there are ranks, each
rank with as much work; results and gradients of a step are added to a sum in fp32, and the fp32
gradients of keys and values travel round a ring. It takes as many heads of keys and values as
of queries, so callers such as torchtitan repeat them first (``repeat_kv``), and traced by
torch.compile each call is waited for where it is made (``_maybe_wrap_tensor``).
"""

from __future__ import annotations

from typing import NamedTuple

from rmtscale.costs.layouts.stages import stage_layers
from rmtscale.specs.layout import TORCH_CONTEXTS, Layout
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import FP32_BYTES
from rmtscale.specs.workload import Workload


class RingPasses(NamedTuple):
    """Passes of all layers of a stage, of all micro-batches of a rank in a step."""

    forward: int
    """Those that are made again among them."""
    backward: int

    @property
    def both(self) -> int:
        return self.forward + self.backward


def in_torch(layout: Layout) -> bool:
    """Whether a layout's context parallelism is torch's own."""
    return layout.cp > 1 and layout.context in TORCH_CONTEXTS


def ring_passes(model: ModelSpec, workload: Workload, layout: Layout) -> RingPasses:
    """Returns how often a rank attends to a whole sequence in one layer."""
    runs = layout.micro_batches(workload.batch_size) * stage_layers(model, layout)
    again = workload.train and layout.recompute == "full"
    return RingPasses(runs * (1 + again), runs * workload.train)


def rank_numbers(model: ModelSpec, workload: Workload, layout: Layout) -> int:
    """Returns the numbers of one rank's queries, and of its keys and its values each."""
    local = -(-workload.tokens // layout.cp)
    return layout.micro_batch * local * (model.query_width // layout.tp)


def ring_bytes(model: ModelSpec, workload: Workload, layout: Layout) -> int:
    """Returns the bytes that a rank moves in a step to add up results and gradients.

    Of the last rank, which has all its queries in every step; what reads and writes the same
    numbers one after another is one kernel. A result is read, and its sum read and written. Of
    keys and values half of the sum is added to and the other half copied.
    """
    if not in_torch(layout):
        return 0
    w, passes = workload.dtype_bytes, ring_passes(model, workload, layout)
    added, copied, rounded = w + 2 * FP32_BYTES, 2 * FP32_BYTES, FP32_BYTES + w
    forward = (layout.cp - 1) * added + rounded
    backward = layout.cp * (added + (added + copied)) + 3 * rounded
    each = passes.forward * forward + passes.backward * backward
    return each * rank_numbers(model, workload, layout)


def held_bytes(model: ModelSpec, workload: Workload, layout: Layout) -> int:
    """Returns the bytes that stand beside the activations in a layer's backward pass.

    Keys and values of all ranks, or round a ring those that are sent and received; in fp32 the
    gradients of queries, and those of keys and values three times: the sum, what is sent of it and
    what is received.
    """
    each = rank_numbers(model, workload, layout)
    pairs = layout.cp if layout.context == "torch" else 2
    return each * (2 * pairs * workload.dtype_bytes + (1 + 3 * 2) * FP32_BYTES)
