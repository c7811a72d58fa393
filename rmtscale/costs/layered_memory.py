"""An upper bound of the peak memory of a model given layer by layer.

What the modules of the six families keep is known operator by operator and confirmed on a device
(``activations``). Of the others it is not: here every matmul is taken to keep what it reads and
what it gives, every norm two copies and one in fp32, every activation function four, attention its
keys and values once per query head and, where no fused kernel is sure to run, its whole square.
That is more than any of them keeps; the tests hold it against the real modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.activations import FP32_BYTES, ID_BYTES, MASK_BYTES
from rmtscale.costs.peak_candidates import AT_THE_LOGITS, PeakCandidate
from rmtscale.specs.attention import Attention
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.layers import Layer
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

_ACTIVATION = 5
"""Tensors of the inner width that an activation function keeps, at most, with its output."""
_SQUARES = 4
"""Numbers that attention keeps per pair and head, at most: logits, their fp32 softmax, a copy."""


class _Layer(NamedTuple):
    """One layer, in bytes."""

    cross: bool
    """Whether it attends to an encoder's output."""

    token: int
    """Kept of one token."""
    pair: int
    """Kept of one pair of tokens."""
    weights: int
    """Numbers of its weights: the gradients it makes."""


def _layer(model: LayeredSpec, layer: Layer, w: int, squared: bool) -> _Layer:
    width = model.width
    norms = layer.norms * (width * (FP32_BYTES + 2 * w) + 2 * FP32_BYTES)
    token = norms + width * (4 * w + 3 * MASK_BYTES)
    pair = weights = 0
    for part in layer.parts:
        for item in part.matrices(width):
            times = item.multiplied or item.active
            token += times * (item.inner + item.outer) * w
            weights += item.weights
        token += part.scanned() * FP32_BYTES
        if isinstance(part, Attention) and not part.idle:
            expanded = part.heads * (2 * part.head_width + 2 * part.value)
            # Rotated copies and norms of query and key, and keys and values per query head.
            token += 3 * expanded * w + 2 * part.heads * part.head_width * FP32_BYTES
            token += part.heads * FP32_BYTES
            if squared or part.sinks:
                pair += part.heads * (_SQUARES * FP32_BYTES + MASK_BYTES)
            if part.index_heads:
                pair += 2 * part.index_heads * FP32_BYTES + 3 * FP32_BYTES
    block = layer.feed_forward
    experts = block.experts if block.all_multiplied else max(1, block.active)
    inner = experts * block.inner + block.shared + block.dense_beside
    token += _ACTIVATION * inner * w + block.experts * (2 * FP32_BYTES + ID_BYTES)
    return _Layer(layer.cross is not None, token, pair, weights)


@lru_cache(maxsize=4096)
def _layers(
    model: LayeredSpec, w: int, squared: bool, encoder: bool
) -> tuple[tuple[_Layer, int], ...]:
    """Layers of one size, wherever they stand, and how many there are."""
    counts: dict[_Layer, int] = {}
    for layer, count in model.encoder_groups if encoder else model.groups:
        sizes = _layer(model, layer, w, squared)
        counts[sizes] = counts.get(sizes, 0) + count
    return tuple(counts.items())


def layered_peaks(
    model: LayeredSpec, workload: Workload, recurrence: Recurrence | None, weights: int
) -> Iterator[PeakCandidate]:
    """The moments at which memory may peak, none smaller than what the module has then.

    Args:
        weights: bytes of all weights, which gradients and optimizer take again.
    """
    w, batch = workload.dtype_bytes, workload.batch_size
    sizes: tuple[tuple[int, int], ...] = ((workload.tokens, 1),)
    overhead = state = 0
    if recurrence is not None:
        sizes = recurrence.segment_sizes(model, workload.tokens)
        overhead = recurrence.overhead(model)
        state = batch * recurrence.memory_tokens * model.embedding_width * w
    size = sizes[0][0]
    kept = _kept(model, workload, size)
    largest = max(
        _of_layer(model, workload, layer, size)
        for encoder in (True, False)
        for layer, _ in _layers_of(model, workload, encoder=encoder)
    )
    hidden = batch * size * model.width * w
    text = size - overhead
    logits = _head_bytes(model, workload, text)
    if not workload.train:
        # Inside a layer what it would keep is all alive at once, and the hidden states beside it.
        yield PeakCandidate("inside a layer", work=largest + 4 * hidden + kept.outside, state=state)
        rows = 1 if recurrence is not None or workload.logits == "last" else text
        # Scaled or capped, logits stand twice for a moment.
        head = 2 * _head_bytes(model, workload, rows)
        yield PeakCandidate(AT_THE_LOGITS, head=head, work=2 * hidden, state=2 * state)
        return
    segments = sum(count for _, count in sizes)
    window = min(workload.bptt_segments or segments, segments)
    saved = kept.layers + kept.outside
    if workload.checkpoint_layers:
        saved = kept.outside + model.layers * hidden + largest
    alive = saved * window
    if recurrence is not None and workload.checkpoint_segments:
        alive = saved
    states = (window + 1) * state
    held = batch * workload.tokens * (ID_BYTES + (model.embedding_width * w if recurrence else 0))
    gradients = weights if recurrence is not None and window < segments else 0
    head = 3 * logits + held
    name = "where the loss is differentiated"
    yield PeakCandidate(
        name, gradients, 0, alive, head, states, hidden + 2 * weights_of_head(model) * w
    )
    name = "in the backbone, backward"
    yield PeakCandidate(
        name, weights + gradients, 0, alive, logits + held, states, largest + 4 * hidden
    )


class _Kept(NamedTuple):
    layers: int
    outside: int


def _kept(model: LayeredSpec, workload: Workload, size: int) -> _Kept:
    """Bytes that wait for the backward pass, of the whole batch."""

    def side(tokens: int, *, encoder: bool) -> int:
        layers = _layers_of(model, workload, encoder=encoder)
        return sum(count * _of_layer(model, workload, layer, tokens) for layer, count in layers)

    inner = model.encoder_tokens or size
    layers = side(inner, encoder=True) + side(size, encoder=False)
    w, batch = workload.dtype_bytes, workload.batch_size
    token = 6 * (model.width + model.embedding_width) * (w + FP32_BYTES) + 4 * ID_BYTES
    token += sum((item.inner + item.outer) * w for item in model.outer)
    outside = batch * (size + (inner if model.encoder_groups else 0)) * token
    mask = batch * size * size * (FP32_BYTES + MASK_BYTES)
    return _Kept(layers, outside + mask * (workload.attention == "eager"))


def _layers_of(
    model: LayeredSpec, workload: Workload, *, encoder: bool
) -> tuple[tuple[_Layer, int], ...]:
    # SDPA falls back to its form with a square in fp32, and wherever a mask is not causal.
    squared = workload.attention == "eager" or workload.dtype_bytes == FP32_BYTES
    return _layers(model, workload.dtype_bytes, squared, encoder)


def _of_layer(model: LayeredSpec, workload: Workload, sizes: _Layer, tokens: int) -> int:
    other = model.encoder_tokens or tokens
    pairs = tokens * max(tokens, other if sizes.cross else 0)
    return workload.batch_size * (tokens * sizes.token + pairs * sizes.pair)


def _head_bytes(model: LayeredSpec, workload: Workload, rows: int) -> int:
    """Counts the bytes of logits and of what the head makes on the way, in fp32."""
    numbers = 0
    for item in model.head_shape.matrices:
        numbers += (1 if item.rows == "once" else rows) * (item.outer + item.inner)
    return workload.batch_size * numbers * FP32_BYTES


def weights_of_head(model: LayeredSpec) -> int:
    """Numbers of the head's matrices, tied ones too: their gradient."""
    return sum(item.inner * item.outer for item in model.head_shape.matrices)
