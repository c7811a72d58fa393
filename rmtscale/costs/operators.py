"""How many operators a pass or a step starts: what the host is busy with while a GPU waits.

Each operator that computes something (no view) starts one kernel, or a few. The numbers are those
of the Hugging Face modules and of ``rmtscale.rmt``; a test counts them on the real modules, within
10 %.
"""

from __future__ import annotations

from typing import NamedTuple

from rmtscale.costs.activations import fused_attention
from rmtscale.costs.parameter_shapes import trained_tensors
from rmtscale.costs.passes import plan_passes
from rmtscale.specs.model import ModelSpec, of_kind
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload


class _Layer(NamedTuple):
    """Operators of one layer: with eager attention, and fewer of them with a fused kernel."""

    forward: int
    backward: int
    fused_forward: int
    fused_backward: int
    dropouts: int
    """Dropouts in it; one less with a fused kernel."""
    parameters: int
    """Tensors of weights, whose gradients later segments are added to."""


_LAYERS = {
    "gpt2": _Layer(22, 36, 17, 29, 3, 12),
    "opt": _Layer(18, 34, 13, 27, 3, 16),
    "gpt_neo": _Layer(24, 41, 24, 41, 3, 12),
    "gpt_neox": _Layer(27, 45, 22, 40, 3, 12),
    "llama": _Layer(39, 73, 34, 67, 1, 9),
    "bert": _Layer(16, 33, 12, 26, 3, 16),
}
_AROUND = {True: 7, False: 13}
"""Operators outside the layers, of a decoder and of an encoder: embeddings, positions, head."""
_MASK = {"full": 10, "rmt": 2}
"""The mask that eager attention of a decoder is given, made anew in every pass."""
_SCORING = 26
"""The head, cross-entropy and their gradients of one segment of an RMT."""
_BACKWARD_AROUND = {"full": 9, "rmt": 24}
_OPTIMIZER = {"adamw": 11, "adamw-fused": 1, "sgd": 1, "none": 0}
"""Operators on lists of tensors."""
ONE_BY_ONE = {"adafactor": (10, 19), "adamw-8bit": (1, 1), "lion": (4, 4), "muon": (0, 23)}
"""Operators for a vector and for a matrix, of those that step on one tensor after another. Of
8-bit AdamW it is a kernel a tensor; of Muon the vectors are AdamW's."""
_LISTED = 36
"""Tensors that one such operator takes care of."""


def count_operators(
    model: ModelSpec, workload: Workload, recurrence: Recurrence | None = None
) -> int:
    """Operators that the host starts for ``workload``, whatever it then waits for.

    Raises:
        BadInput: a segment that cannot be.
    """
    layer = of_kind(_LAYERS, model.kind, "its operators are")
    fused = fused_attention(model, workload)
    forward = layer.fused_forward if fused else layer.forward
    backward = layer.fused_backward if fused else layer.backward
    has_dropout = workload.dropout is not False and model.hidden_dropout + model.attention_dropout
    dropouts = (layer.dropouts - fused) * bool(workload.train and has_dropout)
    passes = plan_passes(model, workload, recurrence)
    runs = sum(run.runs for run in passes)
    method = "full" if recurrence is None else "rmt"
    around = _AROUND[model.decoder] + (0 if fused or not model.decoder else _MASK[method])
    once = model.layers * (forward + dropouts) + around
    operators = runs * once
    if not workload.train:
        return operators
    differentiated = sum(run.backward_runs for run in passes)
    if recurrence is not None and model.decoder:
        operators += runs * _SCORING
    operators += differentiated * (model.layers * (backward + dropouts) + _BACKWARD_AROUND[method])
    operators += (differentiated - 1) * model.layers * layer.parameters
    if workload.checkpoint_segments and recurrence is not None:
        operators += differentiated * once
    elif workload.checkpoint_layers:
        operators += differentiated * model.layers * (forward + dropouts)
    tensors = model.layers * layer.parameters
    return operators + _in_the_optimizer(model, workload, recurrence, tensors)


def _in_the_optimizer(
    model: ModelSpec, workload: Workload, recurrence: Recurrence | None, tensors: int
) -> int:
    if workload.optimizer in _OPTIMIZER:
        return _OPTIMIZER[workload.optimizer] * -(-tensors // _LISTED)
    vector, matrix = ONE_BY_ONE[workload.optimizer]
    memory_tokens = 0 if recurrence is None else recurrence.memory_tokens
    return sum(
        one.copies * (matrix if len(one.shape) > 1 else vector)
        for one in trained_tensors(model, workload.adapter, memory_tokens)
    )
