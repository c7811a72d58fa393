"""The description of a model in its checkpoint, read from the live modules when it is saved.

A model is built anew from the backbone's configuration and the adapters in it; then its parameters
are made to share storage as they did when it was saved. A backbone that cannot be built from that
is refused before anything is trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedConfig
from transformers.initialization import no_init_weights

from rmtscale.errors import BadInput, reason_of
from rmtscale.rmt.peft_layers import Adapters, adapters_of, put_back
from rmtscale.rmt.sharding import part_of

Shapes = dict[str, tuple[int, ...]]
_KEPT_TYPES = 64


def build(
    auto: Any,
    config: PreTrainedConfig,
    adapters: Adapters | None,
    *,
    fill: Callable[[nn.Module], None] | None = None,
) -> Any:
    """Returns a backbone as ``config`` and ``adapters`` describe it.

    Args:
        auto: the class of Transformers that builds it.
        config: becomes the backbone's own.
        adapters: of ``peft``.
        fill: puts in the weights instead of drawing them, before there are adapters, because what
            ``peft`` sets up may depend on them.
    """
    attention = config._attn_implementation
    given = {} if attention is None else {"attn_implementation": attention}
    if fill is None:
        model = auto.from_config(config, **given)
    else:
        with no_init_weights():
            model = auto.from_config(config, **given)
        model.tie_weights()
        fill(model)
    put_back(model, adapters)
    return model


def without_adapters(name: str) -> str:
    """Returns the name that a weight has in a model without ``peft``, or had there."""
    return name.replace(".base_layer.", ".").replace(".original_module.", ".")


def shapes_of(model: nn.Module) -> Shapes:
    """Returns the shape of everything that is saved, by name."""
    return {name: tuple(value.shape) for name, value in model.state_dict(keep_vars=True).items()}


@lru_cache(maxsize=_KEPT_TYPES)
def _built_shapes(auto: Any, config_json: str, adapters_json: str) -> Shapes:
    values = json.loads(config_json)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    with torch.device("meta"):
        return shapes_of(build(auto, config, json.loads(adapters_json), fill=lambda _: None))


def require_describable(auto: Any, backbone: Any) -> None:
    """Raises ``BadInput`` unless ``backbone`` is what its configuration and adapters describe."""
    live = shapes_of(backbone)
    adapters = adapters_of(backbone)
    config_json = json.dumps(backbone.config.to_dict(), sort_keys=True, default=str)
    try:
        built = _built_shapes(auto, config_json, json.dumps(adapters, sort_keys=True))
    except (NotImplementedError, RuntimeError):
        if adapters is None:
            raise
        # A method that looks at weights, which are not there on the meta device.
        built = _built_shapes(auto, config_json, json.dumps(None))
        live = {without_adapters(name): shape for name, shape in live.items()}
        live = {name: shape for name, shape in live.items() if name in built}
    except (ValueError, KeyError) as error:
        raise BadInput(
            f"backbone {type(backbone).__name__}: cannot be built again from its config by "
            f"{auto.__name__} ({reason_of(error)})"
        ) from error
    for name in sorted(live.keys() | built.keys()):
        if live.get(name) != built.get(name):
            raise BadInput(
                f"backbone weight {name} {_shape_text(live.get(name))}: expected "
                f"{_shape_text(built.get(name))}, as its config and its peft adapters say; what "
                "they do not describe cannot be saved"
            )


def _shape_text(shape: tuple[int, ...] | None) -> str:
    return "that is not there" if shape is None else f"of shape {shape}"


def shared_groups(model: nn.Module) -> list[list[str]]:
    """Returns the names of parameters that are one and the same storage, group by group."""
    groups: dict[Any, list[str]] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        own = part_of(value)
        if own.is_meta or not own.numel():
            key: Any = id(value)
        else:
            key = (own.device, own.data_ptr(), value.shape, value.stride(), value.dtype)
        groups.setdefault(key, []).append(name)
    return sorted(sorted(names) for names in groups.values() if len(names) > 1)


def share(model: nn.Module, groups: list[list[str]]) -> None:
    """Makes exactly the parameters of each group share storage, and no others."""
    for names in shared_groups(model):
        if names not in groups:
            for name in names[1:]:
                own = _get(model, name).detach().clone()
                _set(model, name, nn.Parameter(own, requires_grad=own.is_floating_point()))
    for names in groups:
        for name in names[1:]:
            _set(model, name, _get(model, names[0]))


def _get(model: nn.Module, name: str) -> Any:
    place, _, leaf = name.rpartition(".")
    return getattr(model.get_submodule(place), leaf)


def _set(model: nn.Module, name: str, value: nn.Parameter) -> None:
    place, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(place), leaf, value)
