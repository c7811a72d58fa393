"""Comparing what a model may or may not give, and an encoder with the slow reference."""

from __future__ import annotations

from typing import Any

import torch

from rmtscale.rmt import RMTForSequenceClassification
from tests.rmt import slow_reference
from tests.rmt.tiny_models import padded


def equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """Whether both are there and the same, bit for bit."""
    return one is not None and other is not None and torch.equal(one, other)


def demand_reference_of_encoder(
    model: RMTForSequenceClassification, **variant: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Demands loss, logits and memory of the slow reference on ragged rows.

    Args:
        model: of three labels, ``[CLS]`` 1 and ``[SEP]`` 2, in fp64.
        variant: of the memory, in the words of the reference.

    Returns:
        The memory after the rows, and what it would be in the paper's RMT, (B, M, E) each.
    """
    ids, mask = padded([13, 6, 10], 14, True)
    labels = torch.tensor([0, 2, 1])
    out = model(ids, mask, labels=labels)
    given: Any = (model.backbone, model.memory.initial_ME, ids, mask, labels)
    sizes: Any = {"size": model.config.segment_size, "cls": 1, "sep": 2}
    own: Any = sizes | variant
    loss, logits, states = slow_reference.encoder(*given, **own)
    assert (out.loss - loss).abs() < 1e-10
    assert (out.logits - logits).abs().max() < 1e-10
    assert (out.memory - torch.stack(states)).abs().max() < 1e-10
    return out.memory, torch.stack(slow_reference.encoder(*given, **sizes)[2])
