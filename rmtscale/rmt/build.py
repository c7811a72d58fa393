"""A real Hugging Face module from a spec; random weights, or none at all on ``meta``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rmtscale.specs.huggingface import to_config
from rmtscale.specs.model import ModelSpec


def build_backbone(
    spec: ModelSpec,
    *,
    attention: str = "eager",
    device: str = "meta",
    dropout: bool | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """Makes the Hugging Face module of ``spec`` with its head.

    Args:
        attention: ``eager`` or ``sdpa``, as Transformers calls its implementations.
        device: ``meta`` builds the shape without memory: a 175B model in a second.
        dropout: False switches every dropout off; None leaves it as the config has it.
        dtype: of the weights, from the start: a larger copy never exists. None is fp32.

    Raises:
        ValueError: Transformers has no such attention for this kind (GPT-Neo has no SDPA).
    """
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    if dropout is False:
        spec = replace(spec, hidden_dropout=0.0, attention_dropout=0.0)
    config = _config(spec)
    classifier = spec.head == "classification"
    auto: Any = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    with torch.device(device):
        made: Any = auto.from_config(config, attn_implementation=attention, dtype=dtype)
    # Transformers takes this one where a class's name names none, but warns of it.
    if made.loss_type is None:
        made.loss_type = "ForCausalLM"
    module: nn.Module = made
    return module


def _config(spec: ModelSpec) -> Any:
    """The config of ``spec``, without the ids of its type's text that no token of it has."""
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    usual = CONFIG_MAPPING[spec.kind]
    ends = ((name, getattr(usual, name, None)) for name in ("bos_token_id", "eos_token_id"))
    absent = {name: None for name, one in ends if isinstance(one, int) and one >= spec.vocabulary}
    return AutoConfig.for_model(**to_config(spec), **absent)
