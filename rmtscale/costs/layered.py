"""Parameters and matmuls of a model given layer by layer: sums over groups of equal layers.

The FLOPs of a matmul are a polynomial of the length, a + b s + c s^2, with few exceptions (padded
convolutions, scans in chunks), which are evaluated at each length.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.terms import Count, FlopTerm, PassTerm
from rmtscale.specs.attention import Attention
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.layers import Layer
from rmtscale.specs.parts import Irregular, Matrix, Part


class _Kind(NamedTuple):
    """Holds what makes two operations one term."""

    name: str
    operator: str
    trained_operator: str
    differentiated: bool = True
    in_block: bool = True
    once: bool = False
    text: bool = False
    """Whether it is done for the text's tokens only, not of memory (a head)."""
    causal: bool = False
    window: int = 0


class _Rate(NamedTuple):
    """Sums up one kind of operation as polynomials of the length."""

    fixed: int = 0
    """FLOPs whatever the length."""
    token: int = 0
    pair: int = 0
    fixed_elements: int = 0
    token_elements: int = 0
    square: int = 0
    """Numbers of the attention square, per pair."""
    weights: int = 0
    """Numbers of the matrices that one token passes through."""
    all_weights: int = 0
    """Numbers of all of them: of every expert."""

    def plus(self, other: _Rate) -> _Rate:
        return _Rate(*(one + more for one, more in zip(self, other, strict=True)))


@lru_cache(maxsize=1024)
def layered_parameters(model: LayeredSpec, *, active: bool = False) -> dict[str, int]:
    """Parameters by part; with ``active``, of the experts only those a token passes through."""

    def weights(matrices: tuple[Matrix, ...]) -> int:
        return sum(item.active_weights if active else item.weights for item in matrices)

    width, norm = model.width, model.norm_parts * model.width
    parts = {
        "embedding": model.vocabulary * model.embedding_width,
        "positions": model.tables,
        "embedding_projection": weights(model.outer),
        "attention": 0,
        "feed_forward": 0,
        "norms": model.outer_vectors,
        "head": weights(model.head_shape.matrices) + model.head_shape.vectors,
    }
    for layer, count in model.all_groups:
        times = 1 if model.shared_layers else count
        for part in layer.parts:
            name = "feed_forward" if part is layer.feed_forward else "attention"
            parts[name] += times * (weights(part.matrices(width)) + part.vectors(width))
        parts["norms"] += times * (layer.norms * norm + layer.vectors)
    return parts


@lru_cache(maxsize=1024)
def layered_matrix_weights(model: LayeredSpec, *, every: bool = False) -> int:
    """Weights of the matrices a token passes through inside the blocks, or of all; no biases."""
    return sum(
        count * (item.copies if every else item.active) * item.inner * item.outer
        for layer, count in model.all_groups
        for part in layer.parts
        for item in part.matrices(model.width)
        if item.rows == "tokens"
    )


def layered_terms(model: LayeredSpec, tokens: Count, text_tokens: Count) -> tuple[PassTerm, ...]:
    """Counts what the real module multiplies in one forward pass, by aten operator."""
    made = []
    for kind, rate in _rates(model):
        s = text_tokens if kind.text else tokens
        flops = rate.fixed + s * (rate.token + s * rate.pair)
        made.append(
            PassTerm(
                kind.name,
                flops,
                kind.operator,
                rate.fixed_elements + s * rate.token_elements,
                _smaller(s * rate.weights, rate.all_weights),
                s * s * rate.square,
                kind.in_block,
                kind.once,
                backward_flops=None if kind.differentiated else 0,
                trained_operator=kind.trained_operator,
                all_weights=rate.all_weights,
                window=kind.window,
                causal=kind.causal,
            )
        )
    for irregular, count, in_block in _irregular(model, tokens):
        made.append(
            PassTerm(
                irregular.name,
                2 * count * irregular.multiply_adds,
                irregular.operator,
                in_block=in_block,
                backward_flops=2 * count * irregular.backward_multiply_adds,
            )
        )
    return tuple(made)


def _smaller(first: Count, second: int) -> Count:
    return first + (second - first) * (second < first)


@lru_cache(maxsize=1024)
def _rates(model: LayeredSpec) -> tuple[tuple[_Kind, _Rate], ...]:
    """Every kind of operation of one forward pass, in the order of the computation."""
    rates: dict[_Kind, _Rate] = {}

    def add(kind: _Kind, rate: _Rate) -> None:
        rates[kind] = rates.get(kind, _Rate()).plus(rate)

    for item in model.outer:
        kind = _Kind(FlopTerm.PROJECTION, item.operator, item.trained_operator, in_block=False)
        add(kind, _matrix_rate(item, 1, None))
    for in_encoder, groups in ((True, model.encoder_groups), (False, model.groups)):
        for layer, count in groups:
            for part in layer.parts:
                for kind, rate in _part_rates(model, part, count, in_encoder):
                    add(kind, rate)
    for item in model.head_shape.matrices:
        once = item.rows == "once"
        names = FlopTerm.HEAD, item.operator, item.trained_operator
        kind = _Kind(*names, in_block=False, once=once, text=not once)
        add(kind, _matrix_rate(item, 1, 1 if once else None))
    return tuple((kind, rate) for kind, rate in rates.items() if any(rate[:3]))


def _part_rates(
    model: LayeredSpec, part: Part, count: int, in_encoder: bool
) -> Iterator[tuple[_Kind, _Rate]]:
    """The operations of a mixer or a feed-forward in ``count`` equal layers."""
    frames = model.encoder_tokens
    for item in part.matrices(model.width):
        kind = _Kind(
            item.name,
            item.operator,
            item.trained_operator,
            differentiated=item.name != FlopTerm.INDEX,
        )
        fixed = frames if in_encoder or item.rows == "encoder" else None
        yield kind, _matrix_rate(item, count, fixed)
    window = part.window if isinstance(part, Attention) else 0
    for square in part.squares():
        over_encoder = square.over == "encoder"
        kind = _Kind(
            square.name,
            square.operator,
            square.operator,
            differentiated=square.name != FlopTerm.INDEX,
            causal=model.causal and not in_encoder and not over_encoder,
            window=window,
        )
        flops, numbers = 2 * count * square.multiply_adds, count * square.numbers
        elements = count * square.elements
        if frames and in_encoder:
            fixed_elements = frames * elements + frames * frames * numbers
            yield kind, _Rate(fixed=frames * frames * flops, fixed_elements=fixed_elements)
        elif frames and over_encoder:
            token_elements = elements + frames * numbers
            yield kind, _Rate(token=frames * flops, token_elements=token_elements)
        else:
            yield kind, _Rate(pair=flops, token_elements=elements, square=numbers)


def _matrix_rate(item: Matrix, count: int, fixed_rows: int | None) -> _Rate:
    """A matrix over every token, or over so many vectors whatever the length."""
    if item.rows == "never":
        return _Rate()
    flops = 2 * count * item.multiply_adds
    times = item.multiplied or item.active
    elements = count * times * (item.inner + item.outer)
    one = count * item.inner * item.outer
    weights, every = item.active * one, item.copies * one
    if item.multiplied:
        weights = every
    if fixed_rows is None:
        return _Rate(0, flops, 0, 0, elements, 0, weights, every)
    return _Rate(fixed_rows * flops, 0, 0, fixed_rows * elements, 0, 0, every, every)


@lru_cache(maxsize=1024)
def _irregular_layers(model: LayeredSpec) -> tuple[tuple[Layer, int], ...]:
    counts: dict[Layer, int] = {}
    for layer, count in model.all_groups:
        if any(part.irregular(model.width, 8) for part in layer.parts):
            counts[layer] = counts.get(layer, 0) + count
    return tuple(counts.items())


def _irregular(model: LayeredSpec, tokens: Count) -> Iterator[tuple[Irregular, int, bool]]:
    """Products that are no polynomial of the length; how many layers; whether they are in one."""
    for item in model.fixed:
        yield item, 1, False
    for layer, count in _irregular_layers(model):
        for part in layer.parts:
            for item in part.irregular(model.width, tokens):
                yield item, count, True


def cached_numbers(model: LayeredSpec, tokens: Count) -> Count:
    """Keys and values that are kept of so many tokens, all layers."""
    return sum(count * part.cached(tokens) for layer, count in model.groups for part in layer.parts)


def state_numbers(model: LayeredSpec) -> int:
    """Numbers of recurrent states, whatever the length."""
    return sum(count * part.state() for layer, count in model.groups for part in layer.parts)
