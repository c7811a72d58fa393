"""Recomputation by operator: which matmuls of a layer a checkpoint makes again, and what it keeps.

Besides ``full`` and the ``selective`` of Korthikanti et al. 2022 there are the two policies of
torchtitan's selective checkpoints (``activation_checkpoint.py``, commit 9dec370 of 2024-12-26 and
820504e of 2025-06-13): a list names the operators whose results are kept, fused attention among
them, and of ``aten.mm`` every second one is made again all the same (``alternate``). A float8
linear calls ``aten._scaled_mm``, which the list does not name: ``attention`` alone is kept then.
Recomputation stops before a layer's last matmul, whose result no gradient needs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.grouped_experts import experts_of
from rmtscale.costs.terms import FlopTerm
from rmtscale.costs.written import how_written
from rmtscale.specs.model import ModelSpec

BY_OPERATOR = ("alternate", "attention")
"""Policies that choose operators, and make the rest of a layer again."""


class LayerMatmul(NamedTuple):
    """One matmul of a layer, in the order in which they are called."""

    term: FlopTerm
    share: float
    """Share of the term's FLOPs."""
    width: int
    """Width of its result."""
    cut: bool
    """Whether ``tp`` cuts the result; else each rank has a part of the sum."""


@lru_cache(maxsize=256)
def layer_matmuls(model: ModelSpec) -> tuple[LayerMatmul, ...]:
    """Returns the matmuls with weights of one layer whose feed-forward is dense."""
    written = how_written(model)
    query, keys, inner = model.query_width, model.kv_width, model.mlp_width
    both = query + 2 * keys
    widths = (both,) if written.joint_qkv else (query, keys, keys)
    found = [LayerMatmul(FlopTerm.QKV, width / both, width, True) for width in widths]
    found.append(LayerMatmul(FlopTerm.OUTPUT, 1.0, model.width, False))
    up = (inner,) * (1 + model.gated_mlp)
    up = (sum(up),) if written.joint_gate else up
    found += [LayerMatmul(FlopTerm.DENSE_UP, 1 / len(up), width, True) for width in up]
    found.append(LayerMatmul(FlopTerm.DENSE_DOWN, 1.0, model.width, False))
    return tuple(found)


@lru_cache(maxsize=256)
def made_again(model: ModelSpec, recompute: str) -> dict[str, float]:
    """Returns the shares of the terms of a layer that a policy of ``BY_OPERATOR`` makes again."""
    shares: dict[str, float] = {}
    for number, one in enumerate(layer_matmuls(model)[:-1], start=1):
        if recompute == "attention" or number % 2 == 0:
            shares[one.term] = shares.get(one.term, 0.0) + one.share
    return shares


def kept_widths(model: ModelSpec, recompute: str) -> tuple[int, int]:
    """Returns how many numbers of matmuls a token keeps: those that ``tp`` cuts, and the others.

    The results that are kept of ``BY_OPERATOR``; attention's own are not among them.
    """
    cut = whole = 0
    for number, one in enumerate(layer_matmuls(model), start=1):
        if recompute == "alternate" and number % 2:
            cut += one.width * one.cut
            whole += one.width * (not one.cut)
    return cut, whole


def why_not(model: ModelSpec, recompute: str) -> str:
    """Says why a model cannot be recomputed so; empty where it can."""
    if recompute in BY_OPERATOR and experts_of(model) is not None:
        return f"{recompute}, expected none, selective or full for the experts of {model.name}"
    return ""
