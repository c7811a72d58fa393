"""A call of the decoder: checked before any work, its segments planned on the host.

Shape legend: B batch, N text columns of the input, M memory, E embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rmtscale.rmt.base import RMTPreTrainedModel
from rmtscale.rmt.compiling import never_compiled
from rmtscale.rmt.config import KEPT_LOGITS
from rmtscale.rmt.loss import IGNORED, next_token_targets
from rmtscale.rmt.recurrence import limit_to_last
from rmtscale.rmt.segmenting import Step, plan, windows
from rmtscale.rmt.validation import (
    LABELS,
    MASKS,
    require_ids,
    require_memory,
    require_same_shape,
    require_token_labels,
    require_vocabulary,
    text_spans,
)
from rmtscale.units import require_one_of


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of a call, and how they are to be read."""

    input_ids_BN: Tensor
    targets_BN: Tensor | None
    """The next token at each column, or ``IGNORED``; None without labels."""
    steps: tuple[Step, ...]
    windows: list[range]
    """The steps that gradients flow back through together."""
    state_BME: Tensor
    """The state before the first segment."""
    keep: str
    """Which logits are kept, one of ``KEPT_LOGITS``."""
    scored: Tensor | None
    """How many labels are scored, at least 1; None without labels."""


@never_compiled
def check_call(
    model: RMTPreTrainedModel,
    input_ids: Tensor | None,
    attention_mask: Tensor | None,
    labels: Tensor | None,
    memory: Tensor | None,
    *,
    keep_logits: str | None,
    loss_mask: Tensor | None,
) -> Call:
    """The arguments of ``RMTForCausalLM.forward``, which says what they are.

    Raises:
        BadInput: anything of another shape, dtype or range.
    """
    config = model.config
    keep = config.keep_logits if keep_logits is None else keep_logits
    require_one_of("keep_logits", keep, KEPT_LOGITS)
    ids_BN = require_ids(input_ids)
    weight = model.embedding_VE
    if memory is not None:
        require_memory(memory, ids_BN.shape[0], config.memory_tokens, weight)
    spans = text_spans(ids_BN, attention_mask)
    steps = plan(spans.lengths, model.segment_tokens, config.alignment, spans.offsets)
    targets_BN = scored = None
    if loss_mask is not None:
        require_same_shape("loss_mask", loss_mask, ids_BN, MASKS)
    if labels is None:
        require_vocabulary(ids_BN, model.vocabulary)
    else:
        require_same_shape("labels", labels, ids_BN, LABELS)
        labels = labels.long()
        targets_BN = next_token_targets(labels, spans.mask_BN, loss_mask)
        if config.loss_on == "last":
            targets_BN = limit_to_last(targets_BN, steps[-1])
        require_token_labels(labels, targets_BN, ids_BN, model.vocabulary)
        scored = (targets_BN != IGNORED).sum().clamp(min=1)
    depth = config.bptt_segments if torch.is_grad_enabled() else None
    state_BME = model.memory(weight, ids_BN.shape[0]) if memory is None else memory
    return Call(ids_BN, targets_BN, steps, windows(len(steps), depth), state_BME, keep, scored)
