"""Shapes of the tensors that a model's parameters are in, and of those that are trained of it.

An optimizer's states depend on them: factored moments are as long as a matrix is high and wide,
8-bit moments are kept of large tensors only, and Muon steps on matrices alone. Of the six families
they are those of the real modules, as a test demands; of a model given layer by layer the sizes
are, and where its module fuses query, key and value or two norms the tensors are taken apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import NamedTuple

from rmtscale.specs.adapter import Adapter
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.parts import Matrix
from rmtscale.specs.projections import targeted


class Tensors(NamedTuple):
    """Equal tensors."""

    shape: tuple[int, ...]
    copies: int = 1
    in_block: bool = True

    @property
    def each(self) -> int:
        """Numbers of one of them."""
        return prod(self.shape)

    @property
    def numbers(self) -> int:
        return self.copies * self.each


@lru_cache(maxsize=256)
def parameter_tensors(model: ModelSpec) -> tuple[Tensors, ...]:
    """Returns the tensors of all parameters, tied ones once."""
    every = _layered(model) if isinstance(model, LayeredSpec) else _plain(model)
    return tuple(one for one in every if one.numbers)


def trained_tensors(
    model: ModelSpec, adapter: Adapter | None, memory_tokens: int
) -> tuple[Tensors, ...]:
    """Returns the tensors that are trained: all, or an adapter's; and an RMT's memory."""
    tensors = parameter_tensors(model) if adapter is None else adapter_tensors(model, adapter)
    if not memory_tokens:
        return tensors
    memory = (memory_tokens, model.embedding_width)
    return (*tensors, Tensors(memory, in_block=False))


@lru_cache(maxsize=256)
def adapter_tensors(model: ModelSpec, adapter: Adapter) -> tuple[Tensors, ...]:
    """Returns the tensors of an adapter.

    LoRA has two matrices for each of its targets (Hu et al. 2022, section 4.1), a parallel adapter
    two with biases in each layer (He et al. 2022).

    Raises:
        BadInput: targets that the model does not have.
    """
    rank, width, layers = adapter.rank, model.width, model.layers
    if adapter.lora:
        return tuple(
            tensors
            for one in targeted(model, adapter)
            for tensors in (
                Tensors((rank, one.inner), one.layers),
                Tensors((one.outer, rank), one.layers),
            )
        )
    return (
        *(Tensors((rank, width), layers), Tensors((rank,), layers)),
        *(Tensors((width, rank), layers), Tensors((width,), layers)),
    )


def count_numbers(tensors: tuple[Tensors, ...]) -> int:
    """Counts the numbers in all of them."""
    return sum(one.numbers for one in tensors)


def _plain(model: ModelSpec) -> Iterator[Tensors]:
    width, query, kv, inner = model.width, model.query_width, model.kv_width, model.mlp_width
    layers, embedding = model.layers, model.embedding_width
    yield Tensors((model.vocabulary, embedding), in_block=False)
    yield Tensors((model.position_rows, width), in_block=False)
    yield Tensors((model.token_types, width), in_block=False)
    if model.projected_embedding:
        yield Tensors((width, embedding), 2, in_block=False)
    fused = model.kind in ("gpt2", "gpt_neox")
    outers = (query + 2 * kv,) if fused else (query, kv, kv)
    for outer in outers:
        yield Tensors((width, outer), layers)
        yield Tensors((outer,), layers * model.qkv_bias)
    yield Tensors((query, width), layers)
    yield Tensors((width,), layers * model.output_bias)
    ups = 1 + model.gated_mlp
    yield Tensors((width, inner), ups * layers)
    yield Tensors((inner,), ups * layers * model.mlp_bias)
    yield Tensors((inner, width), layers)
    yield Tensors((width,), layers * model.mlp_bias)
    vectors = 2 if model.norm == "layer" else 1
    yield Tensors((width,), vectors * 2 * layers)
    yield Tensors((width,), vectors * (model.final_norm + model.embedding_norm), in_block=False)
    if model.head == "classification":
        yield Tensors((width, width), in_block=False)
        yield Tensors((width,), in_block=False)
        yield Tensors((width, model.labels), in_block=False)
        yield Tensors((model.labels,), in_block=False)
    elif not model.tied_head:
        yield Tensors((model.vocabulary, embedding), in_block=False)


def _layered(model: LayeredSpec) -> Iterator[Tensors]:
    width = model.width
    yield Tensors((model.vocabulary, model.embedding_width), in_block=False)
    yield Tensors((model.tables,), in_block=False)
    for item in model.outer:
        yield from _matrices(item, in_block=False)
    yield Tensors((width,), model.outer_vectors // width, in_block=False)
    yield Tensors((model.outer_vectors % width,), in_block=False)
    for layer, count in model.all_groups:
        times = 1 if model.shared_layers else count
        for part in layer.parts:
            for item in part.matrices(width):
                yield from _matrices(item, times)
            yield Tensors((part.vectors(width),), times)
        yield Tensors((width,), times * layer.norms * model.norm_parts)
        yield Tensors((layer.vectors,), times)
    for item in model.head_shape.matrices:
        yield from _matrices(item, in_block=False)
    yield Tensors((model.head_shape.vectors,), in_block=False)


def _matrices(item: Matrix, times: int = 1, *, in_block: bool = True) -> Iterator[Tensors]:
    """The tensors of equal matrices: experts share one of three dimensions."""
    if not item.tied:
        if item.copies > item.active or item.called == "bmm":
            yield Tensors((item.copies, item.inner, item.outer), times, in_block)
        else:
            yield Tensors((item.inner, item.outer), times * item.copies, in_block)
    if item.bias:
        yield Tensors((item.outer,), times * item.copies, in_block)
