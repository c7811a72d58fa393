"""Adapters on a real module: LoRA by ``peft``, parallel adapters by ``rmtscale.rmt``.

Shapes: none matter; adapters take a module's own.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from rmtscale.errors import BadInput, MissingDependency
from rmtscale.rmt.adapter import attach
from rmtscale.rmt.backbones import body_of
from rmtscale.specs.adapter import ALL, Adapter
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.projections import targeted


def with_adapter(module: Any, adapter: Adapter, spec: ModelSpec) -> nn.Module:
    """Freezes ``module`` and puts an adapter on it; returns what is to be run.

    Raises:
        BadInput: targets that the model does not have, or QLoRA, whose weights nothing here makes.
        MissingDependency: LoRA without ``peft``.
    """
    module.requires_grad_(False)
    if not adapter.lora:
        body = body_of(module, 1, causal=spec.decoder)
        module.adapters = attach(module, body, adapter.rank, 1.0)
        return module  # type: ignore[no-any-return]
    if adapter.kind == "qlora":
        raise BadInput("adapter 'qlora': expected lora or parallel, quantised weights are not run")
    try:
        import peft
    except ImportError as error:
        raise MissingDependency("adapter 'lora' needs peft: pip install peft") from error
    names = sorted({one.name for one in targeted(spec, adapter)})
    config = peft.LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.rank,
        lora_dropout=0.0,
        target_modules=names,
        fan_in_fan_out=spec.kind == "gpt2",
        exclude_modules=None if adapter.targets == ALL else _others(spec, adapter),
    )
    wrapped: nn.Module = peft.get_peft_model(module, config)
    return wrapped


def _others(spec: ModelSpec, adapter: Adapter) -> str | None:
    """Names, as an expression, the modules that are called like a target and are none.

    GPT-2 calls the last matrix of both blocks ``c_proj``.
    """
    if spec.kind == "gpt2" and adapter.targets == "attention":
        return r".*\.mlp\..*"
    return None
