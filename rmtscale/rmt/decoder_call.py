"""A call of the decoder: checked before any work, its segments planned on the host.

Shape legend: B batch, N text columns of the input, M memory, E embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rmtscale.errors import BadInput
from rmtscale.rmt.arguments import require_text
from rmtscale.rmt.base import RMTPreTrainedModel
from rmtscale.rmt.compiling import never_compiled
from rmtscale.rmt.config import KEPT_LOGITS
from rmtscale.rmt.cross_entropy import IGNORED, items_in_batch, next_token_targets
from rmtscale.rmt.recurrence import limit_to_last
from rmtscale.rmt.segmenting import Step, plan, windows
from rmtscale.rmt.validation import (
    LABELS,
    MASKS,
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

    text_BN: Tensor
    """Ids, (B, N), or embeddings, (B, N, E)."""
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
    """Divisor of the sum of the losses, at least 1; None without labels."""
    rows: Tensor | None = None
    """Rows, starts and lengths of all steps (``place_rows``); None: yet to be placed."""


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
    inputs_embeds: Tensor | None = None,
    shift_labels: Tensor | None = None,
    num_items_in_batch: Tensor | int | None = None,
) -> Call:
    """The arguments of ``RMTForCausalLM.forward``, which says what they are.

    Raises:
        BadInput: anything of another shape, dtype or range.
    """
    config = model.config
    keep = config.keep_logits if keep_logits is None else keep_logits
    require_one_of("keep_logits", keep, KEPT_LOGITS)
    weight = model.embedding_VE
    text_BN = require_text(input_ids, inputs_embeds, weight)
    batch = text_BN.shape[0]
    if memory is not None:
        require_memory(memory, batch, config.memory_tokens, weight)
    spans = text_spans(text_BN, attention_mask)
    steps = plan(spans.lengths, model.segment_tokens, config.alignment, spans.offsets)
    if loss_mask is not None:
        require_same_shape("loss_mask", loss_mask, text_BN, MASKS)
    targets_BN = scored = None
    if shift_labels is not None:
        require_same_shape("shift_labels", shift_labels, text_BN, LABELS)
        if loss_mask is not None:
            raise BadInput("loss_mask beside shift_labels: expected -100 where nothing is scored")
        labels = targets_BN = shift_labels.long()
        if spans.mask_BN is not None:
            targets_BN = targets_BN.masked_fill(~spans.mask_BN, IGNORED)
    elif labels is not None:
        require_same_shape("labels", labels, text_BN, LABELS)
        labels = labels.long()
        targets_BN = next_token_targets(labels, spans.mask_BN, loss_mask)
    if labels is None or targets_BN is None:
        require_vocabulary(text_BN, model.vocabulary)
        if num_items_in_batch is not None and keep_logits is None:
            # A trainer that works out the loss itself (label smoothing, its own function).
            keep = "all"
    else:
        if config.loss_on == "last":
            targets_BN = limit_to_last(targets_BN, steps[-1])
        parts = num_items_in_batch is not None
        require_token_labels(labels, targets_BN, text_BN, model.vocabulary, some_scored=not parts)
        scored = (targets_BN != IGNORED).sum().clamp(min=1)
        if num_items_in_batch is not None:
            scored = items_in_batch(num_items_in_batch, scored)
    depth = config.bptt_segments if torch.is_grad_enabled() else None
    state_BME = model.initial_state(batch) if memory is None else memory
    return Call(text_BN, targets_BN, steps, windows(len(steps), depth), state_BME, keep, scored)
