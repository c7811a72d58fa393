"""Comparing what a model may or may not give."""

from __future__ import annotations

import torch


def equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """Whether both are there and the same, bit for bit."""
    return one is not None and other is not None and torch.equal(one, other)
