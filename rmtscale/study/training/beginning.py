"""Backbone and memory that a training takes over from the checkpoint of ``init_from``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmtscale.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

    from rmtscale.rmt.base import RMTPreTrainedModel
    from rmtscale.study.training.settings import LoopSettings


def take_backbone(backbone: nn.Module, trained: RMTPreTrainedModel, settings: LoopSettings) -> None:
    """Begins with the backbone of a trained RMT, all weights of it.

    Args:
        backbone: the one that begins.
        trained: the model of the checkpoint.
        settings: of the training that begins.

    Raises:
        BadInput: its weights have other shapes.
    """
    weights, trained_weights = backbone.state_dict(), trained.backbone.state_dict()
    if {name: x.shape for name, x in weights.items()} != {
        name: x.shape for name, x in trained_weights.items()
    }:
        raise BadInput(
            f"init from {settings.init_from!r}: its backbone has other sizes, expected those of "
            f"{settings.backbone}"
        )
    backbone.load_state_dict(trained_weights)


def take_memory(
    rmt: RMTPreTrainedModel, trained: RMTPreTrainedModel, settings: LoopSettings
) -> None:
    """Begins with the memory of a trained RMT, of as many memory tokens or fewer.

    Args:
        rmt: the model that begins, with the memory that it drew.
        trained: the model of the checkpoint, of the same width.
        settings: of the training that begins.

    Raises:
        BadInput: the checkpoint has more memory tokens, or fewer and another number of sinks.
    """
    asked, known = rmt.config.memory_tokens, trained.config.memory_tokens
    if asked < known:
        raise BadInput(
            f"memory tokens {asked} with init from {settings.init_from!r}, which has {known}: "
            f"expected {known} or more"
        )
    sinks, known_sinks = rmt.config.sink_tokens, trained.config.sink_tokens
    # Sinks stand first: with another number of them a trained row would cease to carry, or begin.
    if 0 < known < asked and sinks != known_sinks:
        raise BadInput(
            f"sink tokens {sinks} with init from {settings.init_from!r}: expected {known_sinks}, "
            f"as it has among its {known} memory tokens, where {asked} are asked for"
        )
    rmt.memory.begin_with(trained.memory)
