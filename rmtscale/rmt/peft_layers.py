"""Adapters of ``peft`` in a model: read from the live modules, put back from a description.

``peft`` puts its layers *into* the model it adapts and leaves ``peft_config`` there, so that the
modules themselves say what is to be saved, whenever they were added.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rmtscale.errors import BadInput

Adapters = dict[str, dict[str, Any]]
"""The configurations of adapters, as JSON has them, by the name of the adapter."""

_NEED_MORE_THAN_IDS = frozenset({"POLY", "XLORA"})
"""Methods that read the task of each sample, or the ids of the whole input, from the call."""


def unwrap(backbone: nn.Module) -> Any:
    """Returns the model inside a ``peft`` wrapper, which has the layers.

    The wrapper stays valid in the caller's hands (merging, switching adapters off).

    Raises:
        BadInput: a peft method that changes the input instead of the layers (prompt tuning), or
            that every call has to be told a task (Poly).
    """
    adapters = getattr(backbone, "peft_config", None) or {}
    for config in adapters.values():
        method = str(config.peft_type.value)
        in_layers = not (config.is_prompt_learning or config.is_adaption_prompt)
        if not in_layers or method in _NEED_MORE_THAN_IDS:
            raise BadInput(
                f"peft method {method}: expected one that lives in the layers, such as LORA"
            )
    inner: Any = backbone
    if adapters and hasattr(inner, "get_base_model"):
        inner = inner.get_base_model()
        kept = {id(parameter) for parameter in inner.parameters()}
        for name, parameter in backbone.named_parameters():
            if id(parameter) not in kept:
                raise BadInput(
                    f"peft method {method}: expected one that lives in the layers, such as LORA; "
                    f"it has {name} outside the backbone"
                )
    return inner


def layers_of(model: nn.Module) -> Iterator[Any]:
    """Returns the modules of ``model`` that ``peft`` has put there."""
    if getattr(model, "peft_config", None) is None and not any(
        type(module).__module__.startswith("peft.") for module in model.modules()
    ):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    for module in model.modules():
        if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
            yield module


def adapters_of(model: nn.Module) -> Adapters | None:
    """Returns the adapters in ``model``; None where there are none (any more)."""
    configs = vars(model).get("peft_config")
    if not configs or next(layers_of(model), None) is None:
        return None
    return {name: _plain(config.to_dict()) for name, config in configs.items()}


def _plain(value: Any) -> Any:
    """Returns the value as JSON has it: sets sorted, enumerations as their value."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(_plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return getattr(value, "value", value)


def put_back(model: Any, adapters: Adapters | None) -> None:
    """Puts the layers of saved adapters into a freshly built model."""
    import peft

    wrapped = None
    for name, values in (adapters or {}).items():
        config = peft.PeftConfig.from_peft_type(**values)
        if isinstance(getattr(config, "init_lora_weights", None), str):
            # Such as LoftQ or EVA, which look at weights or data; all values are loaded anyway.
            config.init_lora_weights = True
        if wrapped is None:
            wrapped = peft.get_peft_model(model, config, adapter_name=name)
        else:
            wrapped.add_adapter(name, config)
        described: Any = model.peft_config[name]
        if "init_lora_weights" in values:
            described.init_lora_weights = values["init_lora_weights"]


def switches_of(model: nn.Module) -> dict[str, Any] | None:
    """Returns which adapters are active, merged or switched off; None where there are none.

    Raises:
        BadInput: the layers do not agree, so that no one description holds for all of them.
    """
    layers = list(layers_of(model))
    # A copy that is trained whole merges into nothing: it has no say in this.
    merged: list[str] = next((layer.merged_adapters for layer in layers if _merges(layer)), [])
    found = [
        {
            "active": sorted(layer.active_adapters),
            "merged": sorted(layer.merged_adapters if _merges(layer) else merged),
            "off": bool(layer.disable_adapters),
        }
        for layer in layers
    ]
    for switches in found[1:]:
        if switches != found[0]:
            raise BadInput(
                f"peft layers of which some are {found[0]} and some {switches}: expected all "
                "alike, such as after set_adapter or unmerge_adapter"
            )
    return found[0] if found else None


def set_switches(model: nn.Module, switches: dict[str, Any] | None) -> None:
    """Sets what ``switches_of`` says."""
    for layer in layers_of(model):
        if switches is None:
            break
        layer.set_adapter(switches["active"])
        if _merges(layer):
            layer.merged_adapters = list(switches["merged"])
        if switches["off"]:
            layer.enable_adapters(False)


@torch.no_grad()
def merge(model: nn.Module) -> None:
    """Adds every active adapter to the weights it stands beside, in place and in their precision.

    What a merged layer computes is one product in place of three. It is the same but for rounding.
    """
    for layer in layers_of(model):
        if _merges(layer) and not layer.merged and not layer.disable_adapters:
            layer.merge()


def is_merged(model: nn.Module) -> bool:
    """Tells whether adapters are merged into the weights of a model."""
    return any(layer.merged for layer in layers_of(model) if _merges(layer))


def _merges(layer: Any) -> bool:
    return hasattr(layer, "merge")


@torch.no_grad()
def merge_anew(copy: nn.Module, source: nn.Module) -> None:
    """Gives a copy the weights that its source has now, with adapters merged as by ``merge``.

    Weights stay where they are, so that steps that were captured or compiled go on with them.

    Args:
        copy: a deep copy of the source, merged or not.
        source: not merged.
    """
    weights: list[Tensor] = list(copy.parameters())
    now: list[Tensor] = list(source.parameters())
    torch._foreach_copy_(weights, now)
    for layer in layers_of(copy):
        if _merges(layer):
            layer.merged_adapters = []
    merge(copy)


def added_by_peft(model: nn.Module) -> Iterator[nn.Parameter]:
    """Returns the parameters that belong to adapters, and the biases that they train beside."""
    configs = getattr(model, "peft_config", None) or {}
    biases = {str(getattr(config, "bias", "none")) for config in configs.values()} - {"none"}
    for layer in layers_of(model):
        base = getattr(layer, "base_layer", getattr(layer, "original_module", None))
        frozen = set() if base is None else {id(p) for p in base.parameters()}
        for parameter in layer.parameters():
            if id(parameter) not in frozen:
                yield parameter
        bias = getattr(base, "bias", None)
        if biases and isinstance(bias, nn.Parameter):
            yield bias
    if "all" in biases:
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                yield parameter
