"""Numbers of weights on the busiest rank: stored, stepped on, and gathered."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.layouts.shards import held, layer_weights, memory_weight, outer_weights
from rmtscale.costs.layouts.stages import stage_layers
from rmtscale.specs.layout import Layout
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence


class RankWeights(NamedTuple):
    """Numbers of weights on the busiest rank."""

    whole: int
    """Without FSDP2, or all gathered."""
    stored: int
    stepped: int
    """Those that its optimizer steps on."""
    layer: int
    """One layer, gathered."""
    layer_shard: int
    outer: int
    """All outside the layers, gathered."""


@lru_cache(maxsize=65536)
def rank_weights(
    model: ModelSpec, layout: Layout, recurrence: Recurrence | None = None
) -> RankWeights:
    """Counts the weights of the busiest rank; the first stage has the embedding."""
    memory = 0 if recurrence is None else recurrence.memory_tokens
    front, behind = outer_weights(model)
    outer = (*front, *memory_weight(model, memory))
    if layout.pp == 1:
        outer = (*outer, *behind)
    layer, rest = held(layer_weights(model), layout), held(outer, layout)
    layers = stage_layers(model, layout)
    whole = layers * layer.whole + rest.whole
    stored = layers * layer.shard + rest.shard
    stepped = stored if layout.zero == 3 else whole
    if layout.zero in (1, 2):
        stepped = -(-whole // layout.shards)
    return RankWeights(whole, stored, stepped, layer.whole, layer.shard, rest.whole)
