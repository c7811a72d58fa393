"""FLOPs of a training in which adapters alone are trained, in the ``matmul`` convention.

A frozen matrix has one product in the backward pass, for the gradient of its input, and none where
no gradient goes further back: before the first adapter of the first layer. An adapter's matrices
have both, as any trained ones.
"""

from __future__ import annotations

from rmtscale.costs.terms import FlopTerm, PassTerm
from rmtscale.costs.written import how_written
from rmtscale.specs.adapter import ATTENTION, Adapter
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.projections import FEED_FORWARD, projections, targeted

_BEFORE_ATTENTION = (FlopTerm.QKV,)
_ATTENTION = (*_BEFORE_ATTENTION, FlopTerm.LOGITS, FlopTerm.REDUCTION, FlopTerm.OUTPUT)
_BLOCK = (*_ATTENTION, FlopTerm.DENSE_UP, FlopTerm.DENSE_DOWN)


def frozen_backward(term: PassTerm, model: ModelSpec, adapter: Adapter, *, reached: bool) -> int:
    """FLOPs of a term's backward pass over one sequence, all layers.

    Args:
        reached: whether a gradient goes through the input of the first layer: to an RMT's memory,
            or because layers are recomputed.
    """
    flops: int = term.flops
    whole = flops if term.weights else 2 * flops
    if reached or term.name not in _unreached(model, adapter):
        return whole
    return whole - whole // model.layers


def _unreached(model: ModelSpec, adapter: Adapter) -> tuple[FlopTerm, ...]:
    """Terms of the first layer that no gradient goes through."""
    if not adapter.lora:
        return _BLOCK
    parts = {one.part for one in targeted(model, adapter)}
    attention = ATTENTION in parts
    if attention and model.parallel_blocks:  # both blocks read what comes in
        down = () if FEED_FORWARD in parts else (FlopTerm.DENSE_DOWN,)
        return (*_BEFORE_ATTENTION, FlopTerm.DENSE_UP, *down)
    return _BEFORE_ATTENTION if attention else (*_ATTENTION, FlopTerm.DENSE_UP)


def ends_block(model: ModelSpec, adapter: Adapter) -> bool:
    """Whether an adapter stands at the end of a block: beside all of it, or on its last matrix."""
    if not adapter.lora:
        return True
    last = projections(model)[-1]
    return last.part == FEED_FORWARD and last in targeted(model, adapter)


def adapter_terms(
    model: ModelSpec, adapter: Adapter, tokens: int, *, reached: bool, kept: bool
) -> tuple[PassTerm, ...]:
    """Returns the adapters' own products over ``tokens`` positions, one term each way in and out.

    Args:
        reached: as in ``frozen_backward``.
        kept: whether something behind a block keeps what comes out of it, so that the last product
            is computed again where layers are recomputed.

    The first layer's adapters on query, key and value, or beside its feed-forward, hand no
    gradient on where none goes further back.
    """
    rank, layers = adapter.rank, model.layers
    if adapter.lora:
        into = [
            (one.inner, one.layers, _first(one.name, one.part)) for one in targeted(model, adapter)
        ]
        out = [(one.outer, one.layers) for one in targeted(model, adapter)]
        if not any(first for _, _, first in into):
            into = [(inner, count, index == 0) for index, (inner, count, _) in enumerate(into)]
    else:
        into, out = [(model.width, layers, True)], [(model.width, layers)]
    terms = []
    operator = "mm" if adapter.lora else "addmm"  # only those of He et al. have biases
    for inner, count, first in into:
        flops = 2 * tokens * rank * inner * count
        backward = 2 * flops - (flops // count if first and not reached else 0)
        terms.append(PassTerm(FlopTerm.ADAPTER, flops, operator, backward_flops=backward))
    for outer, count in out:
        terms.append(PassTerm(FlopTerm.ADAPTER, 2 * tokens * rank * outer * count, operator))
    if ends_block(model, adapter):
        if not adapter.lora:  # stands behind the block's own dropout, in most families
            kept &= isinstance(model, LayeredSpec) or how_written(model).dropout_behind
        terms[-1] = terms[-1]._replace(in_block=kept)
    return tuple(terms)


def _first(name: str, part: str) -> bool:
    """Whether a linear layer reads what comes into a layer: it makes query, key or value, or is
    the way into a feed-forward that stands beside the attention (Pythia)."""
    return name == "dense_h_to_4h" or (
        part == ATTENTION
        and name in (*("q_proj", "k_proj", "v_proj", "c_attn", "query_key_value"),)
    )
