"""The real module of a user's own config, on ``meta``, and what it multiplies.

The class is built by Transformers from the file itself, not from our reading of it: that is what
makes a comparison of the two worth something. Nothing remote is ever run: a class that Transformers
does not have is refused by its name.

Shape legend: B batch, N tokens.
"""

from __future__ import annotations

import importlib
import inspect
import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from rmtscale.errors import BadInput, reason_of
from rmtscale.specs.reading import text_part

_NOT_BUILT = ("quantization_config", "auto_map", "torch_dtype", "dtype", "transformers_version")
"""Fields of a file that say how weights are stored or loaded, not what the module is."""


def _convolution_backward(
    grad_out_shape: Any, x_shape: Any, w_shape: Any, *args: Any, out_shape: Any, **_: Any
) -> int:
    """FLOPs of a convolution's backward pass: one product for each gradient that is wanted.

    torch's own count takes a depthwise convolution for a dense one.
    """
    del x_shape, out_shape
    output_mask = args[-1]
    one: int = 2 * math.prod(w_shape) * grad_out_shape[0] * math.prod(grad_out_shape[2:])
    return one * (int(output_mask[0]) + int(output_mask[1]))


CONVOLUTIONS = {torch.ops.aten.convolution_backward: _convolution_backward}


class _Values(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers what a module asks of the values of a tensor on ``meta``, which has none.

    Modules ask whether a mask is all ones or a sequence starts anew; here it always does.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return args[0].dtype == torch.bool or 1
        return func(*args, **(kwargs or {}))


def values_of_meta() -> TorchDispatchMode:
    """A mode in which a module that asks for values of a tensor on ``meta`` gets an answer."""
    return _Values()  # type: ignore[no-untyped-call]


def real_config(config: Mapping[str, Any], name: str) -> Any:
    """Returns the config object of Transformers that a mapping becomes.

    Raises:
        BadInput: a type that Transformers does not have, or fields that it refuses.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING:
        remote = " without remote code, which is never run" if config.get("auto_map") else ""
        raise BadInput(f"model {name!r}: Transformers has no class of model_type {kind!r}{remote}")
    plain = {key: value for key, value in config.items() if key not in _NOT_BUILT}
    plain.pop("architectures", None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return CONFIG_MAPPING[kind].from_dict(plain)
    # A config class may raise anything about a file; to the user it is one thing.
    except Exception as error:
        raise BadInput(
            f"model {name!r}: Transformers refuses its config ({reason_of(error, 200)})"
        ) from error


def class_of_config(config: Mapping[str, Any], name: str) -> str:
    """Returns the class that a config names, or the usual one of its type.

    Of a model with a vision part it is that of the language model alone.

    Raises:
        BadInput: a class that Transformers does not have.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        MODEL_MAPPING_NAMES,
    )

    text = text_part(config)
    given = text.get("architectures")
    if isinstance(given, list) and given:
        module = _modeling(real_config(text, name))
        if hasattr(module, str(given[0])):
            return str(given[0])
        raise BadInput(
            f"model {name!r}: architectures names {given[0]!r}, which Transformers does not have "
            f"of model_type {text.get('model_type')!r}; remote code is never run"
        )
    kind = text.get("model_type")
    for names in (
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        MODEL_MAPPING_NAMES,
    ):
        if kind in names:
            return str(names[kind])
    raise BadInput(f"model {name!r}: Transformers has no class of model_type {kind!r}")


def _modeling(made: Any) -> Any:
    """The module that a config object's classes stand in."""
    return importlib.import_module(type(made).__module__.replace("configuration", "modeling"))


def real_module(
    config: Mapping[str, Any],
    class_name: str,
    name: str,
    *,
    attention: str = "eager",
    experts_by: str | None = "batched_mm",
    device: str = "meta",
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """Returns the module of ``class_name`` for ``config``.

    Args:
        attention: what Transformers calls the way it is computed: ``eager``, ``sdpa``.
        experts_by: and that of a mixture of experts; None is what it takes by itself.
        device: ``meta`` builds the shape without memory.
        dtype: of the weights; None is torch's default.

    Raises:
        BadInput: no such type or class, or a module that cannot be built.
    """
    made = real_config(config, name)
    kind: Any = getattr(_modeling(made), class_name, None)
    if kind is None:
        raise BadInput(f"model {name!r}: Transformers has no class {class_name!r} of its type")
    # Experts one by one ask which tokens are theirs, and a meta tensor has no values.
    for experts in dict.fromkeys((experts_by, None)):
        options: dict[str, Any] = {} if experts is None else {"experts_implementation": experts}
        options |= {} if dtype is None else {"dtype": dtype}
        made = real_config(config, name)  # an attempt notes down in it what was asked for
        try:
            with warnings.catch_warnings(), torch.device(device):
                warnings.simplefilter("ignore")
                built: nn.Module = kind._from_config(made, attn_implementation=attention, **options)
            return built.eval()
        except Exception as error:
            if experts is None:
                raise BadInput(
                    f"model {name!r}: {class_name} cannot be built ({reason_of(error)})"
                ) from error
    raise AssertionError


def real_language_model(config: Mapping[str, Any], class_name: str, name: str) -> nn.Module:
    """Returns the module of a config's language model.

    Where Transformers has it only inside a model that sees or hears, that one is built whole; of it
    no more than the language model is run, and counted (``real_parameters``).

    Raises:
        BadInput: no such type or class, or a module that cannot be built.
    """
    text = text_part(config)
    if hasattr(_modeling(real_config(text, name)), class_name) or text is config:
        return real_module(text, class_name, name)
    given = config.get("architectures")
    if not isinstance(given, list) or not given:
        raise BadInput(f"model {name!r}: Transformers has no class {class_name!r} of its type")
    return real_module(config, str(given[0]), name)


def real_parameters(module: Any) -> int:
    """Parameters of the language model, one that is tied to another counted once."""
    parts = [module]
    if hasattr(module.config, "vision_config") or hasattr(module.config, "audio_config"):
        parts = [part for part in (module.get_decoder(), module.get_output_embeddings()) if part]
    return sum({id(item): item.numel() for part in parts for item in part.parameters()}.values())


def without_dropout(module: nn.Module) -> None:
    """Switches every dropout of a module off."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name in ("attention_dropout", "dropout"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)


def real_flops(module: Any, tokens: int, *, batch: int = 1, train: bool = False) -> dict[str, int]:
    """Returns FLOPs by aten operator of one pass, and back from the sum of what comes out.

    Raises:
        BadInput: a module that cannot run without values.
    """
    try:
        return _real_flops(module, tokens, batch, train)
    except BadInput:
        raise
    # A module may raise anything where a tensor has no values; to the user it is one thing.
    except Exception as error:
        raise BadInput(
            f"{type(module).__name__}: cannot be run without values, so it is not counted "
            f"({reason_of(error)})"
        ) from error


def _real_flops(module: Any, tokens: int, batch: int, train: bool) -> dict[str, int]:
    module.train(train).requires_grad_(train)
    grad = torch.set_grad_enabled(train)
    counting = FlopCounterMode(display=False, custom_mapping=CONVOLUTIONS)
    with counting as counter, grad, _Values():  # type: ignore[no-untyped-call]
        outputs = module(**module_inputs(module, batch, tokens))
        if train:
            first = getattr(outputs, "logits", None)
            if first is None:
                first = outputs[0]
            starts = [first.sum()]
            for other in ("end_logits", "pooler_output", "seq_relationship_logits", "sop_logits"):
                if getattr(outputs, other, None) is not None:
                    starts.append(getattr(outputs, other).sum())
            sum(starts[1:], starts[0]).backward()
    return matmul_flops(counter)


def matmul_flops(counter: FlopCounterMode) -> dict[str, int]:
    """Returns the FLOPs that a counter saw the model multiply, by aten operator.

    The angles of rotary positions are left out: they are a table, not a matmul of the model,
    though some releases of Transformers write it as a matmul of two vectors.
    """
    counts: dict[str, int] = {}
    for place, by_operator in counter.get_flop_counts().items():
        # A module is called by its place in the model, or by its class where it is run alone.
        rotary = place.endswith((".rotary_emb", "RotaryEmbedding"))
        sign = 1 if place == "Global" else -rotary
        for operator, flops in by_operator.items():
            name = str(operator).removeprefix("aten.")
            counts[name] = counts.get(name, 0) + sign * int(flops)
    return {name: flops for name, flops in counts.items() if flops}


def module_inputs(module: Any, batch: int, tokens: int) -> dict[str, Any]:
    """Makes what a module reads: ids, and a mask of ones where it would otherwise look for one."""
    taken = inspect.signature(module.forward).parameters
    shape = (batch, 1, tokens) if type(module).__name__.endswith("MultipleChoice") else None
    ids_BN = torch.zeros(shape or (batch, tokens), dtype=torch.long, device="meta")
    inputs: dict[str, Any] = {"input_ids": ids_BN}
    if "input_features" in taken:
        frames = 2 * module.config.max_source_positions
        features = torch.zeros((batch, module.config.num_mel_bins, frames), device="meta")
        inputs = {"input_features": features}
    if "decoder_input_ids" in taken:
        inputs["decoder_input_ids"] = ids_BN
    elif "use_cache" in taken:
        inputs["attention_mask"] = torch.ones_like(ids_BN)
    if "use_cache" in taken:
        inputs["use_cache"] = False
    return inputs
