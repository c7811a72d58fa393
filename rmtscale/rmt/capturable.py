"""Tells whether a training step can be captured, and on what it depends.

Shape legend: none; nothing here looks at the values of a tensor.

A graph holds kernels with the addresses they work on, and nothing of the Python that launched them:
hooks, branches on values and random numbers of the host would be frozen as they were.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as module_globals
from torch.utils._python_dispatch import _get_current_dispatch_mode

from rmtscale.rmt.compiling import never_compiled
from rmtscale.rmt.families import NOT_CAPTURABLE, FamilyBody
from rmtscale.rmt.recurrence import runs_in_half

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


@never_compiled
def refusal(model: Any) -> str | None:
    """Says why a training step of an RMT cannot be captured; None where it can."""
    config = model.config
    kind = config.backbone_config.model_type
    if not isinstance(model.body, FamilyBody):
        return f"a backbone of type {kind!r} is run by its own forward, which may look at values"
    if kind in NOT_CAPTURABLE:
        return f"a backbone of type {kind!r} copies numbers from the host in every layer"
    trained = [p for p in model.parameters() if p.requires_grad]
    return _refused_parameters(model, trained) or _refused_modules(model) or _refused_now()


def _refused_parameters(model: Any, trained: list[nn.Parameter]) -> str | None:
    if not trained:
        return "no parameter is trained"
    for parameter in model.parameters():
        if type(parameter) is not nn.Parameter:
            return f"a parameter is a {type(parameter).__name__}"
    if len({parameter.device for parameter in model.parameters()}) > 1:
        return "the model is on several devices"
    if runs_in_half(trained):
        return "in fp16 gradients are worked out under scales that are tried one after another"
    return None


def _refused_modules(model: Any) -> str | None:
    config = model.config
    recomputes = model.training and (config.checkpoint_segments or config.state_by_state)
    for name, module in model.named_modules():
        why = _watched(name, module)
        if why is not None:
            return why
        if module.training and getattr(module, "gradient_checkpointing", False):
            return "one checkpoint per layer puts random numbers back by way of the host"
        if module.training and getattr(module, "layerdrop", 0.0):
            return "layers are dropped at random, by the host"
        if recomputes and _drops(module):
            return "with dropout a second run puts random numbers back by way of the host"
    return None


def _watched(name: str, module: nn.Module) -> str | None:
    if any(getattr(module, hooks, None) for hooks in _HOOKS):
        return f"module {name or type(module).__name__!r} has hooks"
    # The RMT's own may be wrapped: what is captured is inside.
    if name and "forward" in vars(module):
        return f"the forward of module {name!r} was replaced"
    return None


def is_watched(model: nn.Module) -> bool:
    """Whether some module has hooks, or runs something else than its own forward."""
    return any(_watched(name, module) is not None for name, module in model.named_modules())


def _refused_now() -> str | None:
    if any(getattr(module_globals, f"_global{hooks}") for hooks in _HOOKS):
        return "hooks are on every module"
    if _get_current_dispatch_mode() is not None:
        return "another mode watches every operator"
    if torch._C._autograd._top_saved_tensors_default_hooks(False) is not None:
        return "hooks are on saved tensors"
    if torch.is_anomaly_enabled():
        return "autograd looks for anomalies"
    return None


def _drops(module: nn.Module) -> bool:
    return module.training and any(probability > 0 for probability in _dropouts(module))


def _dropouts(module: nn.Module) -> Iterator[float]:
    """Probabilities that a module drops with: its own, or those it hands to an operator."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        yield module.p
    for name in ("attention_dropout", "dropout", "hidden_dropout", "dropout_prob"):
        value = vars(module).get(name)
        if isinstance(value, float):
            yield value


@never_compiled
def draws(model: Any) -> bool:
    """Whether a step of an RMT may draw random numbers, which a second run has to draw again."""
    if not model.training and not model.backbone.training:
        return False
    return not isinstance(model.body, FamilyBody) or any(_drops(part) for part in model.modules())


@never_compiled
def facts(model: Any) -> Hashable:
    """Returns what all captured steps of a model have in them: its weights, and which are trained.

    Where it changes, all of them are captured anew.
    """
    return tuple((p.data_ptr(), p.requires_grad, p.dtype) for p in model.parameters())


@never_compiled
def settings(model: Any) -> Hashable:
    """Returns what else a captured step has in it, by which it is found again."""
    config, kind = model.config, model.embedding_VE.device.type
    cuda: Any = torch.backends.cuda
    return (
        (config.loss_on, config.bptt_segments, config.checkpoint_segments, config.alignment),
        (config.segment_size, config.sink_tokens, config.dead_band),
        (config.pad_vocabulary_to, config.state_by_state),
        config.backbone_config._attn_implementation,
        tuple(p for module in model.modules() for p in _dropouts(module)),
        tuple(module.training for module in model.modules()),
        (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)),
        (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()),
        (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()),
        cuda.cudnn_sdp_enabled(),
    )
