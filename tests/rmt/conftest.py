"""Shared set-up: one thread, a fixed seed, float64 all the way through."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.models.gpt_neo.modeling_gpt_neo import GPTNeoSelfAttention
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.utils import logging

torch.set_num_threads(1)
logging.set_verbosity_error()
logging.disable_progress_bar()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _exact_norm(self: Any, hidden: torch.Tensor) -> torch.Tensor:
    variance = hidden.pow(2).mean(-1, keepdim=True)
    scaled: torch.Tensor = self.weight * (hidden * torch.rsqrt(variance + self.variance_epsilon))
    return scaled


def _exact_attention(
    self: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    weights = query @ key.transpose(-1, -2)
    queries, keys = query.shape[-2], key.shape[-2]
    seen = self.bias[:, :, keys - queries : keys, :keys]
    weights = torch.where(seen, weights, torch.finfo(weights.dtype).min)
    if attention_mask is not None:
        weights = weights + attention_mask
    weights = self.attn_dropout(weights.softmax(-1))
    return weights @ value, weights


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Llama's norm and GPT-Neo's attention round to fp32 inside, whatever the model's dtype is.

    1e-10 can only be asked for where nothing rounds; the model and the reference both run these.
    """
    monkeypatch.setattr(LlamaRMSNorm, "forward", _exact_norm)
    monkeypatch.setattr(GPTNeoSelfAttention, "_attn", _exact_attention)
