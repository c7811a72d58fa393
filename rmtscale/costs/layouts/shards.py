"""The part of each weight that a rank holds.

Tensor parallelism cuts the matrices that read a layer's input by their outputs, those that write
it by their inputs, and leaves norms whole (Shoeybi et al. 2019, section 3). FSDP2 then cuts the
first dimension of what a rank has into equal shards, rounded up: shapes are therefore those of the
real modules, first dimension first.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import NamedTuple

from rmtscale.costs.parameter_shapes import parameter_tensors
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.layout import Layout
from rmtscale.specs.model import ModelSpec

ROWS, COLUMNS, WHOLE = "rows", "columns", "whole"
"""Tensor parallelism cuts the first dimension, the second, or none."""


class Weight(NamedTuple):
    """Equal tensors of weights, as the module has them."""

    rows: int
    """First dimension."""
    rest: int
    """Numbers in one row."""
    cut: str
    copies: int = 1
    expert: bool = False
    """First dimension is that of experts, which expert parallelism cuts."""
    vocabulary: bool = False

    def local(self, layout: Layout) -> tuple[int, int]:
        """Rows and numbers in a row on a rank, before FSDP2 cuts the rows."""
        rows, rest = self.rows, self.rest
        if self.expert:
            rows //= layout.ep
        cut = self.cut if not self.vocabulary or layout.shard_vocabulary else WHOLE
        if cut == ROWS and not self.expert:
            return -(-rows // layout.tp), rest
        return rows, rest if cut == WHOLE else rest // layout.tp


class Held(NamedTuple):
    """Numbers of a group of weights on a rank: a layer, or all outside the layers."""

    whole: int
    """Gathered: without FSDP2, or while it is used."""
    shard: int
    """A rank's shard of it."""
    padded: int
    """All shards, the last ones padded: what a gather moves."""
    tensors: int


@lru_cache(maxsize=512)
def layer_weights(model: ModelSpec) -> tuple[Weight, ...]:
    """Returns the weights of one layer; of a model whose layers differ, of the average one."""
    if isinstance(model, LayeredSpec):
        return tuple(_layered(model))
    return tuple(weight for weight in _plain(model) if prod(weight[:2]))


@lru_cache(maxsize=512)
def outer_weights(model: ModelSpec) -> tuple[tuple[Weight, ...], tuple[Weight, ...]]:
    """Returns the weights before the layers and behind them; a tied head is in front."""
    width, embedding = model.width, (model.vocabulary, model.embedding_width)
    front: list[Weight] = []
    behind: list[Weight] = []
    vectors = (
        (2 if model.norm == "layer" else 1)
        * model.final_norm
        * (not isinstance(model, LayeredSpec))
    )
    seen = 0
    for one in parameter_tensors(model):
        if one.in_block:
            continue
        if one.shape == embedding:
            for _ in range(one.copies):
                (behind if seen else front).append(Weight(*one.shape, ROWS, vocabulary=True))
                seen += 1
        elif one.shape == (width,):
            behind += [Weight(width, 1, WHOLE, min(one.copies, vectors))] * bool(vectors)
            front += [Weight(width, 1, WHOLE, one.copies - vectors)] * (one.copies > vectors)
        else:
            front.append(Weight(one.shape[0], prod(one.shape[1:]), WHOLE, one.copies))
    return tuple(front), tuple(behind)


def memory_weight(model: ModelSpec, memory_tokens: int) -> tuple[Weight, ...]:
    """Returns the weight that an RMT adds: its first state."""
    if not memory_tokens:
        return ()
    return (Weight(memory_tokens, model.embedding_width, WHOLE),)


@lru_cache(maxsize=65536)
def held(weights: tuple[Weight, ...], layout: Layout) -> Held:
    """Counts what a rank holds of some weights; the first shard, which is the largest."""
    whole = shard = padded = tensors = 0
    for weight in weights:
        rows, rest = weight.local(layout)
        each = -(-rows // layout.shards) if layout.zero == 3 else rows
        whole += weight.copies * rows * rest
        shard += weight.copies * each * rest
        padded += weight.copies * (each * layout.shards if layout.zero == 3 else rows) * rest
        tensors += weight.copies
    return Held(whole, shard, padded, tensors)


def _plain(model: ModelSpec) -> Iterator[Weight]:
    """The weights of one layer of the six families."""
    width, query, kv, inner = model.width, model.query_width, model.kv_width, model.mlp_width
    conv = model.kind == "gpt2"  # a Conv1D has its inputs first
    fused = model.kind in ("gpt2", "gpt_neox")

    def reads(outer: int, copies: int = 1) -> Weight:
        if conv:
            return Weight(width, outer, COLUMNS, copies)
        return Weight(outer, width, ROWS, copies)

    def writes(wide: int) -> Weight:
        return Weight(wide, width, ROWS) if conv else Weight(width, wide, COLUMNS)

    for outer in (query + 2 * kv,) if fused else (query, kv, kv):
        yield reads(outer)
        yield Weight(outer, int(model.qkv_bias), ROWS)
    yield writes(query)
    yield Weight(width, int(model.output_bias), WHOLE)
    ups = 1 + model.gated_mlp
    yield reads(inner, ups)
    yield Weight(inner, int(model.mlp_bias), ROWS, ups)
    yield writes(inner)
    yield Weight(width, int(model.mlp_bias), WHOLE)
    yield Weight(width, 1, WHOLE, 2 * (2 if model.norm == "layer" else 1))


def _layered(model: LayeredSpec) -> Iterator[Weight]:
    """The weights of the first layer of a model given layer by layer."""
    layer, width = model.groups[0][0], model.width
    for part in layer.parts:
        for item in part.matrices(width):
            reads = item.inner == width and item.outer != width
            if item.copies > item.active or item.called == "bmm":
                yield Weight(item.copies, item.inner * item.outer, COLUMNS, expert=True)
            else:
                yield Weight(item.outer, item.inner, ROWS if reads else COLUMNS, item.copies)
            if item.bias:
                yield Weight(item.outer, 1, ROWS if reads else WHOLE, item.copies)
        if part.vectors(width):
            yield Weight(part.vectors(width), 1, WHOLE)
    if layer.norms * model.norm_parts:
        yield Weight(width, 1, WHOLE, layer.norms * model.norm_parts)
    if layer.vectors:
        yield Weight(layer.vectors, 1, WHOLE)
