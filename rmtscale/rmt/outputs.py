"""Outputs of the two models.

Shape legend: B batch, N text columns of the input, M memory, E embedding width, V vocabulary,
C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput


@dataclass
class RMTCausalLMOutput(ModelOutput):  # type: ignore[misc]
    """Output of ``RMTForCausalLM``."""

    loss: Tensor | None = None
    """Mean cross-entropy of the scored labels, a scalar; None without labels."""
    logits: Tensor | None = None
    """``none``: None. ``last``: (B, 1, V), of each sample's last text token. ``all``: (B, N, V) in
    the columns of the input, zero where it is padding."""
    memory: Tensor | None = None
    """State after the last segment, (B, M, E); give it to the next call to go on."""


@dataclass
class RMTSequenceClassifierOutput(ModelOutput):  # type: ignore[misc]
    """Output of ``RMTForSequenceClassification``."""

    loss: Tensor | None = None
    """Mean over the samples, a scalar; None without labels."""
    logits: Tensor | None = None
    """(B, C), from the last segment of each sample."""
    memory: Tensor | None = None
    """State after the last segment, (B, M, E)."""


@dataclass
class RMTGenerateOutput(ModelOutput):  # type: ignore[misc]
    """Output of ``generate`` with ``return_dict_in_generate``; K new tokens at most."""

    sequences: Tensor | None = None
    """The input followed by the new tokens, (B, N + K); the new tokens alone after embeddings."""
    scores: tuple[Tensor, ...] | None = None
    """For each new token what it was chosen by, (B, V); with ``output_scores``."""
    logits: tuple[Tensor, ...] | None = None
    """For each new token the logits, (B, V); with ``output_logits``."""
    memory: Tensor | None = None
    """State after each row's last token, (B, M, E); give it to the next call to go on."""
